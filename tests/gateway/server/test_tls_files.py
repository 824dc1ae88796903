"""Proves which TLS files the gateway accepts, and that it says what is wrong with others."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from gateway.server.tls_errors import TlsError
from gateway.server.tls_files import file_stamps, load_tls_files
from tests.support.tls import Pki, issue

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path)


def problem(pki: Pki, client: str = "none") -> str:
    """Return why the files are refused; it has nothing of the key, and not where the files are."""
    with pytest.raises(TlsError) as refused:
        load_tls_files(pki.settings(client))
    text = str(refused.value)
    assert "PRIVATE" not in text
    assert "BEGIN" not in text or "begin with BEGIN" in text
    assert str(pki.cert) not in text
    return text


def test_good_files(pki: Pki) -> None:
    """The context wants TLS 1.2, asks clients as the settings say, and trusts what their file has alone."""
    files = load_tls_files(pki.settings())
    assert files.names == ("localhost", "127.0.0.1")
    assert files.days_left() in {89, 90}
    assert files.context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert files.context.verify_mode is ssl.CERT_NONE
    assert files.context.get_ca_certs() == []
    asked = load_tls_files(pki.settings("optional"))
    assert asked.context.verify_mode is ssl.CERT_OPTIONAL
    required = load_tls_files(pki.settings("required"))
    assert required.context.verify_mode is ssl.CERT_REQUIRED
    assert len(required.context.get_ca_certs()) == len(required.authorities) == 1
    assert required.context.num_tickets == 0


def test_a_chain(pki: Pki) -> None:
    """The certificate is the first in its file; the authorities between follow."""
    between = pki.servers.create_child_ca()
    certificate, key = issue(between, hosts=["gateway.example.org"])
    pki.cert.write_bytes(certificate + between.cert_pem.bytes())
    pki.key.write_bytes(key)
    assert load_tls_files(pki.settings()).names == ("gateway.example.org",)
    pki.cert.write_bytes(between.cert_pem.bytes() + certificate)
    assert "does not belong to the first certificate of GATEWAY_TLS_CERT_FILE" in problem(pki)


def _encrypt(pki: Pki) -> None:
    key = load_pem_private_key(pki.key.read_bytes(), None)
    encryption = BestAvailableEncryption(b"secret")
    pki.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))


def _expire(pki: Pki) -> None:
    pki.write_server(expires=datetime.now(UTC) - timedelta(days=1))


def _postdate(pki: Pki) -> None:
    pki.write_server(starts=datetime.now(UTC) + timedelta(days=1))


def _make_folder(pki: Pki) -> None:
    pki.cert.unlink()
    pki.cert.mkdir()


def _exchange(pki: Pki) -> None:
    pki.cert.write_bytes(issue(pki.servers, hosts=["localhost"])[0])


WRONG: dict[str, tuple[Callable[[Pki], object], str]] = {
    "no certificate": (
        lambda pki: pki.cert.unlink(),
        "GATEWAY_TLS_CERT_FILE: the file cannot be read: No such",
    ),
    "no key": (lambda pki: pki.key.unlink(), "GATEWAY_TLS_KEY_FILE: the file cannot be read: No such"),
    "a folder": (
        _make_folder,
        "GATEWAY_TLS_CERT_FILE: the file cannot be",
    ),
    "an empty certificate": (lambda pki: pki.cert.write_bytes(b""), "GATEWAY_TLS_CERT_FILE: the file has no"),
    "an empty key": (
        lambda pki: pki.key.write_bytes(b""),
        "GATEWAY_TLS_KEY_FILE: the file has no private key",
    ),
    "half a certificate": (
        lambda pki: pki.cert.write_bytes(pki.cert.read_bytes()[:200]),
        "GATEWAY_TLS_CERT_FILE: the file has no certificates in PEM form",
    ),
    "exchanged files": (
        lambda pki: pki.cert.write_bytes(pki.key.read_bytes()),
        "GATEWAY_TLS_CERT_FILE: the file has no certificates in PEM form (it has a private key only)",
    ),
    "a certificate as the key": (
        lambda pki: pki.key.write_bytes(pki.cert.read_bytes()),
        "GATEWAY_TLS_KEY_FILE: the file has no private key",
    ),
    "DER": (
        lambda pki: pki.cert.write_bytes(ssl.PEM_cert_to_DER_cert(pki.cert.read_text())),
        "GATEWAY_TLS_CERT_FILE: the file has no certificates in PEM form",
    ),
    "another key": (_exchange, "GATEWAY_TLS_KEY_FILE: the key does not belong to the first certificate"),
    "a password": (_encrypt, "GATEWAY_TLS_KEY_FILE: the key has a password"),
    "expired": (_expire, "GATEWAY_TLS_CERT_FILE: the certificate expired on"),
    "not yet valid": (_postdate, "GATEWAY_TLS_CERT_FILE: the certificate is valid from"),
    "a key that all can read": (
        lambda pki: pki.key.chmod(0o644),
        "GATEWAY_TLS_KEY_FILE: the file is not used",
    ),
    "a key that a group can read": (
        lambda pki: pki.key.chmod(0o640),
        "GATEWAY_TLS_KEY_FILE: the file is not",
    ),
    "a key that all can write": (lambda pki: pki.key.chmod(0o622), "other users can write it: chmod go-w"),
    "a certificate that all can write": (
        lambda pki: pki.cert.chmod(0o666),
        "GATEWAY_TLS_CERT_FILE: the file is",
    ),
    "a huge file": (
        lambda pki: pki.cert.write_bytes(bytes(2**20 + 1)),
        "GATEWAY_TLS_CERT_FILE: the file is not",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files(pki: Pki, name: str) -> None:
    """Each is refused with the setting, what is wrong, and what would be right."""
    spoil, text = WRONG[name]
    spoil(pki)
    assert text in problem(pki)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_wrong_authorities(pki: Pki, content: bytes) -> None:
    """A file without authorities is refused: it would let no client in, or every one."""
    pki.client_ca.write_bytes(content)
    assert problem(pki, "required").startswith("GATEWAY_TLS_CLIENT_CA_FILE: the file has no certificates")


def test_authorities_that_others_write(pki: Pki) -> None:
    """Who can write the authorities could be anybody."""
    pki.client_ca.chmod(0o666)
    assert "GATEWAY_TLS_CLIENT_CA_FILE: the file is not used: other users" in problem(pki, "required")


def test_a_key_that_is_a_link(pki: Pki, tmp_path: Path) -> None:
    """Kubernetes mounts files as links, whose own mode is 777: the file counts."""
    real = tmp_path / "..data"
    real.mkdir()
    pki.key.rename(real / "tls.key")
    pki.key.symlink_to(real / "tls.key")
    assert load_tls_files(pki.settings()).names
    (real / "tls.key").chmod(0o644)
    assert "others can read it: chmod 600" in problem(pki)


def test_stamps(pki: Pki) -> None:
    """They change with each file, also if its length and age stay, and if it goes."""
    settings = pki.settings("required")
    seen = [file_stamps(settings)]
    for path in (pki.cert, pki.key, pki.client_ca):
        copy = path.with_suffix(".new")
        copy.write_bytes(path.read_bytes())
        copy.rename(path)
        seen.append(file_stamps(settings))
        path.unlink()
        seen.append(file_stamps(settings))
    assert len(set(seen)) == 7
    assert file_stamps(settings) == seen[-1]


def test_a_weak_key(pki: Pki) -> None:
    """What OpenSSL finds too weak is refused with its reason."""
    key = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is the point
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "weak")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = (
        builder.serial_number(1).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    )
    pki.cert.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    pki.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert "OpenSSL does not accept the certificate with its key: EE_KEY_TOO_SMALL" in problem(pki)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give root a file")
def test_a_key_of_root_for_a_group(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """As PostgreSQL has it, root may own the key and let the group of an ordinary user read it."""
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    pki.key.chmod(0o640)
    assert load_tls_files(pki.settings()).names
    pki.key.chmod(0o644)
    assert "others can read it" in problem(pki)
