"""The check of the name that a request was sent to.

A web page can let its own name lead to the gateway's address (DNS rebinding). To the browser, the gateway is
then a part of that page's site. Such requests have the page's name in their Host header.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final

from gateway.api.errors import HttpError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp import web

_HEALTH_PATHS: Final = frozenset(
    path + slash
    for path in ("/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready")
    for slash in ("", "/")
)
_MAX_LENGTH: Final = 255 + len(":65535")
_MAX_PORT: Final = 65535
_DEFAULT_PORTS: Final = ("80", "443")
_MAX_KNOWN: Final = 1024
_QUOTED_CHARACTERS: Final = 80

_LABEL: Final = "[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"
_AUTHORITY: Final = re.compile(
    rf"(?P<name>{_LABEL}(\.{_LABEL})*\.?|\[[0-9a-f:.]+\])(:(?P<port>[0-9]{{0,5}}))?", re.IGNORECASE | re.ASCII
)
_END_OF_AUTHORITY: Final = re.compile(r"[/?#]")


class HostCheck:
    """A check that a request was sent to an IP address, to `localhost`, or to one of the `allowed_hosts`.

    Those are in lower case: `name`, `name:port`, `*.domain` for all names below it, or `*`.
    """

    def __init__(self, allowed_hosts: Iterable[str]) -> None:
        hosts = frozenset(allowed_hosts)
        self._any = "*" in hosts
        self._names = hosts | {"localhost"}
        self._domains = tuple(_split_port(host[1:]) for host in hosts if host.startswith("*."))
        self.known: set[str | None] = set()
        """Host headers that were found to be allowed; at most 1024. Others are never added."""

    def check(self, request: web.Request) -> None:
        """Raise HttpError if the request was sent to another name; probes of health may use any.

        A request without Host is allowed. It is one of HTTP/1.0, which no browser sends. If the request line
        has an address too, both are checked: RFC 9112 says that it replaces Host.
        """
        header = request.headers.get("Host")
        sent_to = [authority for authority in (header, _target_authority(request)) if authority is not None]
        refused = next((authority for authority in sent_to if not self.allows(authority)), None)
        if refused is None:
            self._remember(header)
        elif request.rel_url.raw_path not in _HEALTH_PATHS:
            raise _refusal(refused)

    def allows(self, authority: str) -> bool:
        """Return whether requests to `authority`, a name or an address with or without a port, are allowed.

        Without a port, it is the one of `http` or `https`: a proxy may have ended TLS.
        """
        if len(authority) > _MAX_LENGTH or self._any:
            return len(authority) <= _MAX_LENGTH
        match = _AUTHORITY.fullmatch(authority)
        if match is None or int(match["port"] or 0) > _MAX_PORT:
            return False
        name, port = match["name"].lower().removesuffix("."), match["port"]
        return _is_address(match["name"]) or any(
            self._has_name(name, known) for known in ((port,) if port else _DEFAULT_PORTS)
        )

    def _has_name(self, name: str, port: str) -> bool:
        return (
            name in self._names
            or f"{name}:{port}" in self._names
            or any(name.endswith(domain) and only in {"", port} for domain, only in self._domains)
        )

    def _remember(self, header: str | None) -> None:
        if len(self.known) >= _MAX_KNOWN:
            self.known.clear()
        self.known.add(header)


def _target_authority(request: web.Request) -> str | None:
    """Return the address in the request line, as in `GET http://name/path`; None if there is only a path."""
    target = request.raw_path
    if target.startswith("/") or target == "*":
        return None
    return _END_OF_AUTHORITY.split(target.partition("://")[2], maxsplit=1)[0]


def _is_address(name: str) -> bool:
    """Return whether a name is an IP address as a browser writes it: other forms could be names in DNS."""
    try:
        if name.startswith("["):
            ipaddress.IPv6Address(name[1:-1])
        else:
            ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True


def _split_port(host: str) -> tuple[str, str]:
    name, _, port = host.partition(":")
    return name, port


def _refusal(authority: str) -> HttpError:
    message = (
        f"The gateway has no name {quote(authority)}. Requests must be sent to its IP address, to localhost, "
        "or to a name that GATEWAY_ALLOWED_HOSTS has."
    )
    return HttpError(421, "BAD_REQUEST", message=message)


def quote(text: str) -> str:
    """Return a client's text in quotes, shortened, in ASCII and without control characters."""
    return ascii(text if len(text) <= _QUOTED_CHARACTERS else f"{text[: _QUOTED_CHARACTERS - 3]}...")
