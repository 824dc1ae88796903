"""What a store of artifacts is to the cache, and which names it may list."""

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
    """The store is there, this one file is not."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that a store lists, by its path relative to the model's folder."""

    path: str
    size: int | None


@dataclass(frozen=True, slots=True)
class IncomingFile:
    """A file on its way: what the store says of it, and its bytes in chunks of 1 MiB at most."""

    size: int | None
    md5: str | None
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file on this machine, by its path relative to the model's folder."""

    path: str
    size: int
    sha256: str


class RemoteModel(Protocol):
    """A model's files in their store; `size` is the sum of their bytes, None if not known before."""

    @property
    def size(self) -> int | None: ...

    async def fetch(self, folder: Path, meter: DownloadProgress) -> tuple[StoredFile, ...]:
        """Bring every file below `folder` (an empty one), on disk for certain, and digest it."""
        ...


class Store(Protocol):
    """Where models' files are kept; every error is one of `gateway.errors`."""

    async def find(self, uri: str) -> RemoteModel:
        """The files at `uri`; raises ArtifactsGone where no model is there."""
        ...

    async def read(self, uri: str, path: str, *, limit: int) -> bytes | None:
        """One file at `uri`, None where there is none; UpstreamWrong where it is over `limit` bytes."""
        ...


class FileStore(Protocol):
    """A store that gives files one by one; `transfer.ByFile` makes a Store of it."""

    async def list_files(self, uri: str) -> Sequence[RemoteFile]:
        """Every file below `uri`, none where nothing is there."""
        ...

    def open(self, uri: str, path: str) -> AbstractAsyncContextManager[IncomingFile]:
        """The file `path` below `uri`; raises ArtifactFileNotFound where there is none."""
        ...


def safe_path(path: str) -> str:
    """`path`, if it names a file below a folder and nothing else; raises UpstreamWrong."""
    parts = path.split("/")
    if len(parts) > MAX_DEPTH:
        raise too_many_files_error()
    if any(_is_unsafe(part) for part in parts):
        raise BadUpstreamResponse(
            "The artifact store lists a file under a name that could lead out of its folder."
        )
    return path


def _is_unsafe(part: str) -> bool:
    if part in {"", ".", ".."} or "\0" in part or "\\" in part:
        return True
    try:
        return len(part.encode()) > 255
    except UnicodeEncodeError:
        return True


def safe_join(folder: Path, path: str) -> Path:
    """Where the listed file `path` belongs below `folder`; raises UpstreamWrong for an unsafe name."""
    return folder.joinpath(*safe_path(path).split("/"))


def validate_model_files(files: Iterable[RemoteFile]) -> tuple[RemoteFile, ...]:
    """`files`, if together they can be a model's folder.

    Raises UpstreamWrong for an unsafe name, one that is listed twice or one that is both a file
    and a folder, and ArtifactsGone where no model is among them.
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
    """Raises ArtifactsGone where `paths` are not those of a model's folder."""
    names = set(paths)
    if not names:
        raise ArtifactsNotFound("There are no files at this version's location.")
    if MODEL_FILE not in names:
        raise ArtifactsNotFound(
            f"There is no {MODEL_FILE} file at this version's location, so it is no model."
        )


def too_many_files_error() -> BadUpstreamResponse:
    """The error for a location that is no reasonable model's."""
    return BadUpstreamResponse(
        f"This version's location has more than {MAX_FILES} files, or folders too deep."
    )


def file_too_large_error(path: str, limit: int) -> BadUpstreamResponse:
    """The error for a file that was to be read whole, and is not small."""
    return BadUpstreamResponse(f"The file {path} of this version is over {limit} bytes.")


def digest_file(path: Path) -> str:
    """The SHA-256 of the file at `path`, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
