"""Read an access file from disk."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.auth.access_file.parser import parse_access_file
from gateway.auth.access_file.problems import AccessFileError
from gateway.system.trusted_files import UntrustedFileError, read_trusted_file

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.auth.access_file.model import AccessFile

MAX_BYTES: Final = 8 * 2**20  # some 40 000 keys


class Content(NamedTuple):
    """The bytes of a file, and their SHA-256."""

    data: bytes
    digest: bytes


def read_content(path: Path) -> Content:
    """Return what the file has; raise AccessFileError if it cannot be read, or if others can do so."""
    try:
        data = read_trusted_file(path, private=True, max_bytes=MAX_BYTES)
    except UntrustedFileError as error:
        raise AccessFileError([f"{path} is not read: {error}. Or mount it read-only"]) from error
    except OSError as error:
        raise AccessFileError([f"{path} cannot be read: {error.strerror}"]) from error
    return Content(data, sha256(data).digest())


def read_access_file(path: Path) -> AccessFile:
    """Return the file's content as parsed; raise AccessFileError with every problem."""
    return parse_access_file(read_content(path).data)
