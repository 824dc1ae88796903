"""The certificates of a node's links: read from their files, and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.engines.transports.grpc_server import Certificates, CertificatesUnusable
from gateway.system.trusted_files import UntrustedFileError, read_trusted_file

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings.fleet import FleetSettings


def read_certificates(fleet: FleetSettings) -> Certificates:
    """Return what the files have. Raise CertificatesUnusable if gRPC would not start with it."""
    certificate = _read("GATEWAY_FLEET_TLS_CERT_FILE", fleet.tls_cert_file)
    key = _read("GATEWAY_FLEET_TLS_KEY_FILE", fleet.tls_key_file, private=True)
    authorities = _read("GATEWAY_FLEET_TLS_CA_FILE", fleet.tls_ca_file) if fleet.tls_ca_file else b""
    try:
        own = x509.load_pem_x509_certificates(certificate)[0]
        if load_pem_private_key(key, None).public_key() != own.public_key():
            raise CertificatesUnusable("GATEWAY_FLEET_TLS_KEY_FILE: is not the key of the certificate")
        if authorities:
            x509.load_pem_x509_certificates(authorities)
    except (ValueError, TypeError) as error:
        names = "GATEWAY_FLEET_TLS_CERT_FILE, GATEWAY_FLEET_TLS_KEY_FILE or GATEWAY_FLEET_TLS_CA_FILE"
        raise CertificatesUnusable(f"{names} is no PEM file without a password") from error
    return Certificates(certificate=certificate, key=key, authorities=authorities)


def _read(name: str, path: Path | None, *, private: bool = False) -> bytes:
    if path is None:
        raise CertificatesUnusable(f"{name}: is not set")
    try:
        return read_trusted_file(path, private=private)
    except UntrustedFileError as error:
        raise CertificatesUnusable(f"{name}: {path} is not read: {error}") from error
    except OSError as error:
        raise CertificatesUnusable(f"{name}: {path} cannot be read: {error.strerror}") from error
