"""The addresses that the gateway listens on, by GATEWAY_HOST."""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_REASONS: Final = {
    errno.EADDRNOTAVAIL: "GATEWAY_HOST names an address that this machine does not have",
    errno.EAFNOSUPPORT: "GATEWAY_HOST names an IPv6 address, but this machine has no IPv6",
}
_WILDCARDS: Final = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # noqa: S104  # to be recognised


class ListenError(OSError):
    """An address of GATEWAY_HOST cannot be listened on; its text names the address.

    `misconfigured`: the setting is wrong. Otherwise something else has the port, or the system forbids it.
    """

    misconfigured = False

    @classmethod
    def from_os_error(cls, error: OSError, *, host: str, port: int) -> Self:
        """Return the error of opening a socket."""
        if reason := _REASONS.get(error.errno or 0):
            made = cls(error.errno, f"{host}: {reason}")
            made.misconfigured = True
            return made
        return cls(error.errno, f"{host} port {port}: {error.strerror}")

    @classmethod
    def from_unknown_name(cls, error: OSError, *, host: str) -> Self:
        """Return the error of looking up a name."""
        made = cls(error.errno, f"{host}: GATEWAY_HOST names a host without an address: {error.strerror}")
        made.misconfigured = error.errno != socket.EAI_AGAIN
        return made


@dataclass(frozen=True, slots=True)
class Address:
    """An address to listen on, without a port, and the `host` of the setting that it comes from.

    `dual_stack`: an IPv6 address that IPv4 clients reach too.
    """

    host: str = field(compare=False)
    family: socket.AddressFamily
    sockaddr: tuple[Any, ...]
    dual_stack: bool = False

    @property
    def is_from_name(self) -> bool:
        """Whether `host` is a name rather than an address."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return True
        return False

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for all interfaces."""
        return bool(self.sockaddr[0] == _WILDCARDS.get(self.family))

    def with_port(self, port: int) -> tuple[Any, ...]:
        """Return the form that sockets take."""
        return (self.sockaddr[0], port, *self.sockaddr[2:])


def resolve(hosts: Sequence[str]) -> list[Address]:
    """Return the addresses of `hosts`, each once; raise ListenError if a name has none.

    The address of all interfaces takes the place of all others of its family. `::` also stands for IPv4, if
    no host has an IPv4 address.
    """
    found = list(dict.fromkeys(address for host in hosts for address in _lookup(host)))
    wild = {each.family for each in found if each.is_wildcard}
    found = [each for each in found if each.is_wildcard or each.family not in wild]
    if any(each.family == socket.AF_INET for each in found):
        return found
    return [replace(each, dual_stack=each.is_wildcard) for each in found]


def _lookup(host: str) -> Iterator[Address]:
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        cause = error if isinstance(error, OSError) else OSError(socket.EAI_NONAME, "not a valid name")
        raise ListenError.from_unknown_name(cause, host=host) from error
    for family, _, _, _, sockaddr in found:
        yield Address(host, family, sockaddr)
