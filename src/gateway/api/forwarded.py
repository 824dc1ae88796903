"""What trusted proxies say of a request's client; what anyone else says of it is ignored."""

from __future__ import annotations

import ipaddress
import logging
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from gateway.api.client_certificate import ConnectionCertificates
from gateway.api.forwarded_certificate import MalformedHeader, forwarded_names
from gateway.system.log_throttle import LogThrottle

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aiohttp import web

    from gateway.settings.auth import AuthSettings, Network

logger = logging.getLogger(__name__)

FOR: Final = "X-Forwarded-For"
CLIENT_CERT: Final = "X-Forwarded-Client-Cert"
_MAX_HOPS: Final = 50
_MAX_ADDRESSES: Final = 4096  # remembered
_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")
_WITH_PORT: Final = re.compile(r"(?:\[(?P<ipv6>[^\]]*)\]|(?P<ipv4>[0-9.]+))(?::[0-9]{1,5})?")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Forwarded:
    """The client of a request, as its connection and the proxies of `GATEWAY_TRUSTED_PROXIES` tell it.

    A header that a trusted proxy sends and that cannot be understood counts as absent, or as no name.
    """

    def __init__(self, settings: AuthSettings, *, log_throttle: LogThrottle | None = None) -> None:
        self._networks = tuple(map(_without_mapping, settings.trusted_proxies))
        self._log_throttle = log_throttle or LogThrottle()
        self._certificates = ConnectionCertificates()
        self._peer = lru_cache(_MAX_ADDRESSES)(self._look_up_peer)

    def client_address(self, request: web.Request) -> str:
        """Return the address of the client; empty if it is connected by a local socket.

        Behind trusted proxies it is the nearest address in `X-Forwarded-For` that is not one of theirs. What
        is further left there was sent by the client, which may write anything.
        """
        address, trusted = self._peer(request.remote or "")
        if not trusted or FOR not in request.headers:
            return address
        for hop in self._hops(request.headers.getall(FOR)):
            address, trusted = self._peer(hop)
            if not trusted:
                break
        return address

    def certificate_names(self, request: web.Request) -> tuple[str, ...]:
        """Return the names in the client's certificate, none if it has shown none.

        `X-Forwarded-Client-Cert` of a trusted proxy counts before the certificate of the proxy itself.
        """
        if self._networks and CLIENT_CERT in request.headers and self._peer(request.remote or "")[1]:
            return self._forwarded_names(request.headers.getall(CLIENT_CERT))
        return self._certificates.names(request)

    def _hops(self, values: Iterable[str]) -> Iterator[str]:
        """Yield the addresses from the nearest on, up to the first that is none."""
        words = ",".join(values).split(",")
        for word in reversed(words[-_MAX_HOPS:]):
            address = _parse_hop(word.strip())
            if address is None:
                self._log(FOR, "it has something that is no address")
                return
            yield address

    def _forwarded_names(self, values: list[str]) -> tuple[str, ...]:
        if len(values) > 1:
            self._log(CLIENT_CERT, "it was sent several times: the proxy must replace what clients send")
            return ()
        try:
            return forwarded_names(values[0])
        except MalformedHeader as error:
            self._log(CLIENT_CERT, str(error))
            return ()

    def _log(self, header: str, reason: str) -> None:
        if (suppressed := self._log_throttle.suppressed_if_due(("forwarded", header))) is None:
            return
        logger.warning(
            "A trusted proxy sent an %s that is not used: %s",
            header,
            reason,
            extra={"event": "forwarded_header_ignored", "header": header, "suppressed": suppressed},
        )

    def _look_up_peer(self, text: str) -> tuple[str, bool]:
        """Return an address in its one form, and whether it is a trusted proxy's."""
        try:
            address = _parse_address(text)
        except ValueError:
            return "", False
        return str(address), any(address in network for network in self._networks)


def _parse_address(text: str) -> Address:
    """Parse an address; an IPv4 address in the form of IPv6 is one of IPv4, and a zone is left out."""
    address = ipaddress.ip_address(text.partition("%")[0] if ":" in text else text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


@lru_cache(_MAX_ADDRESSES)
def _parse_hop(word: str) -> str | None:
    """Return the address, which may have a port; None if it is no address."""
    match = _WITH_PORT.fullmatch(word)
    text = (match["ipv6"] or match["ipv4"] or "") if match else word
    try:
        return str(_parse_address(text))
    except ValueError:
        return None


def _without_mapping(network: Network) -> Network:
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        base = int(network.network_address) & 0xFFFFFFFF
        return ipaddress.IPv4Network((base, network.prefixlen - _MAPPED.prefixlen))
    return network
