"""The members of a fleet: its nodes by name and address, and the ways to find them."""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

logger = logging.getLogger(__name__)

_LOOKUP_SECONDS: Final = 5.0
DNS_SCHEME: Final = "dns://"


@dataclass(frozen=True, slots=True)
class Member:
    """A node: `name` identifies it for good, `address` is its current `host:port`.

    `tls_name` is the name in its certificate; empty: that in the address.
    """

    name: str
    address: str
    tls_name: str = ""


class Members(Protocol):
    """A source of the members of a fleet."""

    async def watch(self, on_change: Callable[[frozenset[Member]], None]) -> None:
        """Call `on_change` with all members, at once when they are known and after each change, for ever."""


class StaticMembers:
    """The members that the settings list. The name of each is its address."""

    def __init__(self, addresses: Iterable[str]) -> None:
        self._members = frozenset(Member(address, address) for address in addresses)

    async def watch(self, on_change: Callable[[frozenset[Member]], None]) -> None:
        """Report the members once."""
        on_change(self._members)
        await asyncio.get_running_loop().create_future()


class DnsMembers:
    """The members that a name in DNS has addresses of, A and AAAA. The name of each is its address.

    The name is looked up every `seconds` seconds. While DNS does not answer, or says that the name has no
    address, the known members stay: a node that has ended is seen by its link.
    """

    def __init__(
        self,
        name: str,
        port: int,
        *,
        seconds: float = _LOOKUP_SECONDS,
        look_up: Callable[[str, int], Awaitable[Iterable[str]]] | None = None,
    ) -> None:
        """`look_up` returns the addresses of a name and port as `host:port`, or raises OSError."""
        self._name = name
        self._port = port
        self._seconds = seconds
        self._look_up = look_up or look_up_addresses
        self._known: frozenset[Member] = frozenset()
        self._failing = False

    async def watch(self, on_change: Callable[[frozenset[Member]], None]) -> None:
        """Look the name up again and again, and report the members if they changed."""
        while True:
            if (members := await self._find()) and members != self._known:
                self._known = members
                on_change(members)
            await asyncio.sleep(self._seconds)

    async def _find(self) -> frozenset[Member]:
        """Return the members; none if the lookup failed, of which the first failure in a row is logged."""
        try:
            addresses = await self._look_up(self._name, self._port)
        except OSError as error:
            if not self._failing:
                extra = {"event": "node_lookup_failed", "host": self._name, "reason": str(error)}
                message = "Cannot look up the nodes at %s, so the known ones stay: %s"
                logger.warning(message, self._name, error, extra=extra)
            self._failing = True
            return frozenset()
        self._failing = False
        return frozenset(Member(address, address, self._name) for address in addresses)


async def look_up_addresses(name: str, port: int) -> list[str]:
    """Return all addresses of a name as `host:port`, in a thread. Raise OSError if there is none."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return [join_address(str(address[0]), port) for _, _, _, _, address in found]


def join_address(host: str, port: int) -> str:
    """Return `host:port`, with brackets around an address of IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
