"""The manifest of a cached model: its files with their sizes and digests, and their verification."""

from __future__ import annotations

import errno
import hashlib
import hmac
import json
import os
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from gateway.artifacts.stores.base import MODEL_FILE, StoredFile, digest_file, safe_join
from gateway.errors import BadUpstreamResponse

if TYPE_CHECKING:
    from pathlib import Path

_MAX_BYTES = 16 << 20
_RESOURCE_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


@dataclass(frozen=True, slots=True)
class Manifest:
    """A list of all files of one cached model; `model` is for operators who look into the cache.

    `signature` is empty if the gateway that made it has no key.
    """

    model: str
    files: tuple[StoredFile, ...]
    signature: str = ""

    @property
    def size(self) -> int:
        """The bytes of all files together."""
        return sum(file.size for file in self.files)

    def find_file(self, path: str) -> StoredFile | None:
        """Return the file at `path`, or None."""
        return next((file for file in self.files if file.path == path), None)

    @property
    def digest(self) -> str:
        """The SHA-256 of everything but the signature."""
        return hashlib.sha256(self._content("")).hexdigest()

    def signed(self, key: str, folder: str) -> Manifest:
        """Return the manifest with its signature for the model's folder of this name."""
        return replace(self, signature=self._sign(key, folder))

    def is_signed(self, key: str, folder: str) -> bool:
        """Return whether a holder of `key` has made it, for the model's folder of this name and no other."""
        return hmac.compare_digest(self.signature.encode(), self._sign(key, folder).encode())

    def _sign(self, key: str, folder: str) -> str:
        return hmac.new(key.encode(), self._content(folder), "sha256").hexdigest()

    def _content(self, folder: str) -> bytes:
        files = [[file.path, file.size, file.sha256] for file in self.files]
        return json.dumps([folder, self.model, files]).encode()

    def write(self, path: Path) -> None:
        """Write the manifest to a new file at `path` and fsync it."""
        document = {"model": self.model, "files": [asdict(file) for file in self.files]}
        if self.signature:
            document["signature"] = self.signature
        text = json.dumps(document, indent=1)
        with os.fdopen(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
        ) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    def verify(self, folder: Path) -> str | None:
        """Return what is wrong with the files in `folder`, or None if all are as stored."""
        if self.find_file(MODEL_FILE) is None:
            return "the manifest names no model"
        found = (_verify_file(folder, file) for file in self.files)
        return next((problem for problem in found if problem is not None), None)

    def unexpected_files(self, folder: Path) -> list[Path]:
        """Return the files and links in `folder` that are not in the manifest."""
        own = {safe_join(folder, file.path) for file in self.files}
        return [path for path in folder.rglob("*") if path not in own and not _is_folder(path)]


def key_id(key: str) -> str:
    """Return a name for a key, which tells nothing of it."""
    return hmac.new(key.encode(), b"the name of this key", "sha256").hexdigest()[:16]


def _verify_file(folder: Path, file: StoredFile) -> str | None:
    try:
        path = safe_join(folder, file.path)
        if path.is_symlink() or not path.is_file():
            return f"{file.path!r} is not a file"
        if path.stat().st_size != file.size:
            return f"{file.path!r} has another size"
        return None if digest_file(path) == file.sha256 else f"{file.path!r} has another digest"
    except BadUpstreamResponse:
        return f"{file.path!r} cannot be read"
    except OSError as error:
        _raise_if_resources_exhausted(error)
        return f"{file.path!r} cannot be read"


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def load_manifest(path: Path) -> Manifest | None:
    """Return the manifest at `path`, or None if it does not exist or is invalid.

    Raise OSError if this process has no file descriptors or memory left to read it.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
        files = tuple(
            StoredFile(str(file["path"]), int(file["size"]), str(file["sha256"])) for file in content["files"]
        )
        return Manifest(str(content["model"]), files, str(content.get("signature", "")))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    except OSError as error:
        _raise_if_resources_exhausted(error)
        return None


def _raise_if_resources_exhausted(error: OSError) -> None:
    """Raise `error` again if it is due to this process's resources, not to the file."""
    if error.errno in _RESOURCE_ERRNOS:
        raise error


def fsync_folders(top: Path) -> None:
    """Fsync `top` and every folder below it, so that their entries survive a crash."""
    for folder, _, _ in os.walk(top):
        fsync_folder(folder)


def fsync_folder(folder: Path | str) -> None:
    """Fsync `folder`, so that its entries survive a crash."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
