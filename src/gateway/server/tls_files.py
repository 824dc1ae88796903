"""The files of the gateway's TLS: read, checked, and made a context of."""

from __future__ import annotations

import os
import ssl
import stat
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from gateway.api.tls_connection import TlsConnection
from gateway.server.tls_errors import CERT, CLIENT_CA, KEY, TlsError
from gateway.system.memory_files import MemoryFile
from gateway.system.trusted_files import UntrustedFileError, is_read_only, read_trusted_file

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings import TlsSettings

EXPIRY_WARNING_DAYS: Final = 14
_ROOT: Final = 0
_KEY_ADVICE: Final = (
    "others can read it: chmod 600; or 640 if it belongs to root; or mount it read-only, as Kubernetes does"
)
_VERIFY_MODES: Final = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """A certificate that fits its key, the authorities of clients, and a context with them.

    `names` are those that clients may reach the gateway by. `authorities` are whole certificates. `digest` is
    of all of the files.
    """

    context: ssl.SSLContext = field(repr=False)
    names: tuple[str, ...]
    expires: datetime
    authorities: frozenset[bytes] = field(repr=False)
    digest: bytes = field(repr=False)

    def days_left(self, now: datetime | None = None) -> int:
        """Return the whole days until the certificate expires; negative after that."""
        return (self.expires - (now or datetime.now(UTC))).days

    def __str__(self) -> str:
        """Return what an operator wants to see of it."""
        names = ", ".join(self.names) or "no name at all"
        return f"certificate for {names}, until {self.expires:%Y-%m-%d} ({self.days_left()} days)"


def load_tls_files(settings: TlsSettings, *, now: datetime | None = None) -> TlsFiles:
    """Read and check the files of the settings, which name a certificate; raise TlsError."""
    if settings.cert_file is None or settings.key_file is None:
        raise TlsError(f"{CERT} is not set")
    from gateway.server import certificates  # noqa: PLC0415 - cryptography takes long to import

    chain_bytes = _read(CERT, settings.cert_file)
    key_bytes = _read_key(settings.key_file)
    chain = certificates.parse_certificates(CERT, chain_bytes)
    certificates.check_validity(chain[0], now or datetime.now(UTC))
    certificates.check_key(key_bytes, chain[0])
    authorities: list[bytes] = []
    if settings.client_ca_file is not None:
        found = certificates.parse_certificates(CLIENT_CA, _read(CLIENT_CA, settings.client_ca_file))
        authorities = [certificates.encode(each) for each in found]
    context = _new_context()
    _load_chain(context, chain_bytes, key_bytes)
    if settings.client != "none":
        _require_clients(context, authorities, mode=_VERIFY_MODES[settings.client])
    return TlsFiles(
        context=context,
        names=certificates.subject_names(chain[0]),
        expires=chain[0].not_valid_after_utc,
        authorities=frozenset(authorities),
        digest=sha256(b"\0".join((chain_bytes, key_bytes, *authorities))).digest(),
    )


def file_stamps(settings: TlsSettings) -> tuple[object, ...]:
    """Return what changes if one of the files does; a file that is not there has a stamp too."""
    return tuple(
        _stamp(path)
        for path in (settings.cert_file, settings.key_file, settings.client_ca_file)
        if path is not None
    )


def _stamp(path: Path) -> object:
    try:
        status = path.stat()
    except OSError as error:
        return error.errno
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _read(setting: str, path: Path) -> bytes:
    try:
        return read_trusted_file(path)
    except UntrustedFileError as error:
        raise TlsError(f"{setting}: the file is not used: {error}") from error
    except OSError as error:
        raise TlsError(f"{setting}: the file cannot be read: {error.strerror}") from error


def _read_key(path: Path) -> bytes:
    """Return the key, if no other user can read it.

    As PostgreSQL has it: root may own it, and let the group of this process read it. A file system that is
    mounted read-only is a container's: its modes say who may read on another machine.
    """
    content = _read(KEY, path)
    status = path.stat()
    allowed = 0o640 if status.st_uid == _ROOT and os.geteuid() != _ROOT else 0o600
    if stat.S_IMODE(status.st_mode) & 0o077 & ~allowed and not is_read_only(path):
        raise TlsError(f"{KEY}: the file is not used: {_KEY_ADVICE}")
    return content


def _new_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = TlsConnection
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    return context


def _load_chain(context: ssl.SSLContext, chain: bytes, key: bytes) -> None:
    """Load what was checked: a path could have another content by now."""
    chain_file, key_file = MemoryFile(chain), MemoryFile(key)
    try:
        context.load_cert_chain(chain_file.path, key_file.path, password="")
    except ssl.SSLError as error:
        raise TlsError(
            f"{CERT}: OpenSSL does not accept the certificate with its key: {error.reason}"
        ) from error
    finally:
        chain_file.close()
        key_file.close()


def _require_clients(context: ssl.SSLContext, authorities: list[bytes], *, mode: ssl.VerifyMode) -> None:
    """Have clients show certificates of these authorities, each of which is trusted by itself.

    A session that is resumed does not show its certificate again. There are no tickets, so that a session
    ends with its connection or, in TLS 1.2, at the latest with the context.
    """
    try:
        context.load_verify_locations(cadata=b"".join(authorities))
    except ssl.SSLError as error:
        raise TlsError(f"{CLIENT_CA}: OpenSSL does not accept the certificates: {error.reason}") from error
    context.verify_mode = mode
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
