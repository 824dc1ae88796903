"""The interfaces of artifact stores, and the validation of the file names that they list."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gateway.errors import ArtifactsNotFound, BadUpstreamResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from gateway.artifacts.progress import DownloadProgress

MODEL_FILE = "MLmodel"
MAX_FILES = 10_000
MAX_DEPTH = 32
CHUNK_BYTES = 1 << 20


class ArtifactFileNotFound(ArtifactsNotFound):
    """One file is missing from a store that can be reached."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that a store lists; `path` is relative to the model's folder."""

    path: str
    size: int | None


@dataclass(frozen=True, slots=True)
class IncomingFile:
    """A file being downloaded: its size and MD5 if the store has them, and chunks of at most 1 MiB."""

    size: int | None
    md5: str | None
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file on this machine; `path` is relative to the model's folder."""

    path: str
    size: int
    sha256: str


class RemoteModel(Protocol):
    """A model in an artifact store; `size` is its bytes, None if unknown before the download."""

    @property
    def size(self) -> int | None: ...

    async def fetch(self, folder: Path, progress: DownloadProgress) -> tuple[StoredFile, ...]:
        """Download every file to the empty `folder`, fsync it and compute its digest."""
        ...


class Store(Protocol):
    """A store of models' files; it raises only errors of `gateway.errors`."""

    async def find(self, uri: str) -> RemoteModel:
        """Return the model at `uri`; raise ArtifactsNotFound if there is none."""
        ...

    async def read(self, uri: str, path: str, *, limit: int) -> bytes | None:
        """Return one file at `uri` or None; raise BadUpstreamResponse if it is over `limit` bytes."""
        ...


class FileStore(Protocol):
    """A store that serves single files; `FileByFileStore` makes a Store of it."""

    async def list_files(self, uri: str) -> Sequence[RemoteFile]:
        """Return every file below `uri`; an empty list if there is none."""
        ...

    def open(self, uri: str, path: str) -> AbstractAsyncContextManager[IncomingFile]:
        """Open the file `path` below `uri`; raise ArtifactFileNotFound if there is none."""
        ...


def safe_path(path: str) -> str:
    """Return `path` if it stays below its folder; raise BadUpstreamResponse if not."""
    parts = path.split("/")
    if len(parts) > MAX_DEPTH:
        raise too_many_files_error()
    if any(_is_unsafe(part) for part in parts):
        raise BadUpstreamResponse("The artifact store lists a file whose name could lead out of its folder.")
    return path


def _is_unsafe(part: str) -> bool:
    if part in {"", ".", ".."} or "\0" in part or "\\" in part:
        return True
    try:
        return len(part.encode()) > 255
    except UnicodeEncodeError:
        return True


def safe_join(folder: Path, path: str) -> Path:
    """Return the path of the listed file below `folder`; raise BadUpstreamResponse if it is unsafe."""
    return folder.joinpath(*safe_path(path).split("/"))


def validate_model_files(files: Iterable[RemoteFile]) -> tuple[RemoteFile, ...]:
    """Return `files` if together they can be a model's folder.

    Raise BadUpstreamResponse if a name is unsafe, listed twice, or both a file and a folder. Raise
    ArtifactsNotFound if they contain no model.
    """
    found: dict[str, RemoteFile] = {}
    folders: set[str] = set()
    for file in files:
        parts = safe_path(file.path).split("/")
        if file.path in found:
            raise BadUpstreamResponse("The artifact store lists a file twice.")
        found[file.path] = file
        folders.update("/".join(parts[:end]) for end in range(1, len(parts)))
        if len(found) > MAX_FILES:
            raise too_many_files_error()
    if not folders.isdisjoint(found):
        raise BadUpstreamResponse("The artifact store lists a name both as a file and as a folder.")
    require_model(found)
    return tuple(found.values())


def require_model(paths: Iterable[str]) -> None:
    """Raise ArtifactsNotFound if `paths` do not contain a model."""
    names = set(paths)
    if not names:
        raise ArtifactsNotFound("There are no files at this version's location.")
    if MODEL_FILE not in names:
        raise ArtifactsNotFound(
            f"There is no {MODEL_FILE} file at this version's location, so it is not a model."
        )


def too_many_files_error() -> BadUpstreamResponse:
    """Return the error for a location with more or deeper files than any model has."""
    return BadUpstreamResponse(
        f"This version's location has more than {MAX_FILES} files, or folders too deep."
    )


def file_too_large_error(path: str, limit: int) -> BadUpstreamResponse:
    """Return the error for a file that is too large to be read into memory."""
    return BadUpstreamResponse(f"The file {path} of this version is over {limit} bytes.")


def digest_file(path: Path) -> str:
    """Return the SHA-256 of the file at `path`, read in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
