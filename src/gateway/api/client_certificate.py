"""The names in a client's certificate.

They are the URIs in its subject alternative names, such as SPIFFE ids, or if there are none the DNS names. A
common name is never used: authorities do not check it (RFC 9525). A DNS name with `*` names no one client.
"""

from __future__ import annotations

import re
import ssl
from time import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiohttp import web

_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]{1,2048}")
_DNS: Final = re.compile(r"[a-z0-9_]([a-z0-9._-]{0,251}[a-z0-9])?")
_MAX_NAMES: Final = 32


class ClientCertificate(NamedTuple):
    """The names in a certificate, and when it expires, in seconds since the epoch."""

    names: tuple[str, ...]
    expires: float


class ConnectionCertificates:
    """The certificates of the clients that are connected, each read once."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[ssl.SSLObject, ClientCertificate] = WeakKeyDictionary()

    def names(self, request: web.Request) -> tuple[str, ...]:
        """Return the names in the certificate of the connection; none if it has expired meanwhile."""
        connection = request.get_extra_info("ssl_object")
        if connection is None:
            return ()
        found = self._known.get(connection)
        if found is None:
            found = self._known[connection] = read_peer_certificate(connection.getpeercert())
        return found.names if found.expires > time() else ()


def read_peer_certificate(certificate: Mapping[str, Any] | None) -> ClientCertificate:
    """Return what a certificate in the form of Python's `getpeercert` says; no names if there is none."""
    if not certificate:
        return ClientCertificate((), 0.0)
    names = certificate.get("subjectAltName", ())
    return ClientCertificate(
        choose_names(
            [value for kind, value in names if kind == "URI"],
            [value for kind, value in names if kind == "DNS"],
        ),
        ssl.cert_time_to_seconds(certificate["notAfter"]),
    )


def read_pem_names(pem: bytes) -> tuple[str, ...]:
    """Return the names in the first certificate of a PEM text; raise ValueError if it cannot be read."""
    from cryptography import x509  # noqa: PLC0415 - 20 ms of each start, and few proxies send PEM

    certificate = x509.load_pem_x509_certificate(pem)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return choose_names(
        names.get_values_for_type(x509.UniformResourceIdentifier), names.get_values_for_type(x509.DNSName)
    )


def choose_names(uris: Iterable[str], hosts: Iterable[str]) -> tuple[str, ...]:
    """Return the URIs, or the DNS names if there is no URI; leave out those that are not valid."""
    if uris := tuple(uris):
        return tuple(uri for uri in uris if _URI.fullmatch(uri))[:_MAX_NAMES]
    return tuple(host for host in map(str.lower, hosts) if _DNS.fullmatch(host))[:_MAX_NAMES]
