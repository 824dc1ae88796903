"""What the files of the gateway's TLS contain.

Import it only where TLS is used: cryptography takes long to import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from gateway.server.tls_errors import CERT, KEY, TlsError

if TYPE_CHECKING:
    from datetime import datetime


def encode(certificate: x509.Certificate) -> bytes:
    """Return the certificate as DER."""
    return certificate.public_bytes(Encoding.DER)


def parse_certificates(setting: str, content: bytes) -> list[x509.Certificate]:
    """Return the certificates of a file, at least one; raise TlsError."""
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        hint = "it has a private key only" if b"PRIVATE KEY-----" in content else "they begin with BEGIN"
        raise TlsError(f"{setting}: the file has no certificates in PEM form ({hint})") from error


def check_validity(certificate: x509.Certificate, now: datetime) -> None:
    """Raise TlsError unless the certificate is valid now."""
    if now > (end := certificate.not_valid_after_utc):
        raise TlsError(f"{CERT}: the certificate expired on {end:%Y-%m-%d %H:%M} UTC: renew it")
    if now < (start := certificate.not_valid_before_utc):
        raise TlsError(
            f"{CERT}: the certificate is valid from {start:%Y-%m-%d %H:%M} UTC on, and not yet: "
            "check the clock of this machine"
        )


def check_key(content: bytes, certificate: x509.Certificate) -> None:
    """Raise TlsError unless a file's private key is that of the certificate."""
    try:
        key = load_pem_private_key(content, password=None)
        fits = _public_bytes(key.public_key()) == _public_bytes(certificate.public_key())
    except TypeError as error:
        raise TlsError(f"{KEY}: the key has a password: store it without, as `openssl pkey` does") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TlsError(f"{KEY}: the file has no private key in PEM form that can be used") from error
    if not fits:
        raise TlsError(
            f"{KEY}: the key does not belong to the first certificate of {CERT}: "
            "the gateway's own must come first, then those of its authorities"
        )


def _public_bytes(key: object) -> bytes:
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]  # all kinds of keys have it
    return encoded


def subject_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the host names and addresses that the certificate is for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    hosts: list[str] = names.get_values_for_type(x509.DNSName)
    return (*hosts, *map(str, names.get_values_for_type(x509.IPAddress)))
