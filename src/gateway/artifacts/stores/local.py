"""`file:` locations and absolute paths, below the folders that the operator allows."""

from __future__ import annotations

import os
import stat
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from gateway.artifacts.stores.base import (
    CHUNK_BYTES,
    MAX_DEPTH,
    MAX_FILES,
    ArtifactFileNotFound,
    IncomingFile,
    RemoteFile,
    safe_join,
    too_many_files_error,
)
from gateway.concurrency.threads import in_thread
from gateway.errors import ArtifactLocationForbidden, ArtifactsNotFound, BadUpstreamResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


class LocalFileStore:
    """Files on this machine; whatever a symbolic link leads to must lie below a root as well."""

    def __init__(self, roots: Sequence[str]) -> None:
        self._roots = tuple(roots)

    async def list_files(self, uri: str) -> list[RemoteFile]:
        """Every file below `uri`; raises ArtifactsRefused where one lies outside of the roots."""
        return await in_thread(self._walk, _parse_path(uri))

    @asynccontextmanager
    async def open(self, uri: str, path: str) -> AsyncIterator[IncomingFile]:
        """The file `path` below `uri`; raises ArtifactFileNotFound where there is none."""
        file = await in_thread(self._open_file, safe_join(_parse_path(uri), path))
        try:
            yield IncomingFile(os.fstat(file).st_size, None, _Chunks(file))
        finally:
            await in_thread(os.close, file)

    def _walk(self, top: Path) -> list[RemoteFile]:
        found: list[RemoteFile] = []
        folders = [(self._resolve_allowed(top), "", 0)]
        seen = 0
        while folders:
            folder, prefix, depth = folders.pop()
            for entry in _list_folder(folder):
                seen += 1
                # Bounds the walk, and ends it where a link leads to a folder above itself.
                if seen > MAX_FILES or depth >= MAX_DEPTH:
                    raise too_many_files_error()
                real, path = self._resolve_allowed(entry), prefix + entry.name
                if real.is_dir():
                    folders.append((real, f"{path}/", depth + 1))
                else:
                    found.append(RemoteFile(path, _require_regular_file(real.stat()).st_size))
        return found

    def _open_file(self, path: Path) -> int:
        try:
            # O_NONBLOCK: a pipe put there would hold the thread for ever.
            file = os.open(self._resolve_allowed(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except (ArtifactsNotFound, FileNotFoundError) as error:
            raise ArtifactFileNotFound(
                f"The file {path.name} of this version is not at its location."
            ) from error
        except OSError as error:
            raise BadUpstreamResponse(f"The file {path.name} of this version cannot be read.") from error
        try:
            _require_regular_file(os.fstat(file))
        except ArtifactLocationForbidden:
            os.close(file)
            raise
        return file

    def _resolve_allowed(self, path: Path) -> Path:
        """`path` without symbolic links, if that is below a root."""
        try:
            real = path.resolve()
        except (OSError, RuntimeError, ValueError) as error:
            raise ArtifactLocationForbidden("This version's location cannot be followed.") from error
        if not any(real.is_relative_to(Path(root).resolve()) for root in self._roots):
            raise ArtifactLocationForbidden(
                "This version's files lie in a folder that this gateway may not read: "
                "GATEWAY_ARTIFACT_ROOTS names those that it may."
            )
        # Only now: whether something exists outside of the roots is nobody's business.
        if not real.exists():
            raise ArtifactsNotFound("There are no files at this version's location.")
        return real


class _Chunks:
    """A file's bytes, read in a thread."""

    def __init__(self, file: int) -> None:
        self._file = file

    def __aiter__(self) -> _Chunks:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await in_thread(os.read, self._file, CHUNK_BYTES)
        except OSError as error:
            raise BadUpstreamResponse("A file of this version cannot be read.") from error
        if not chunk:
            raise StopAsyncIteration
        return chunk


def _parse_path(uri: str) -> Path:
    """The path that `uri` names; raises ArtifactsRefused where it is on another host or relative."""
    if uri.startswith("/"):
        return Path(uri)
    parts = urlsplit(uri)
    path = Path(unquote(parts.path))
    if parts.netloc not in {"", "localhost"} or not path.is_absolute() or "\0" in parts.path:
        raise ArtifactLocationForbidden(
            "This version's location is no absolute path on this machine: file:///… would be right."
        )
    return path


def _list_folder(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except NotADirectoryError as error:
        raise ArtifactsNotFound("This version's location is a file, not a model's folder.") from error
    except OSError as error:
        raise BadUpstreamResponse("This version's location cannot be read.") from error


def _require_regular_file(status: os.stat_result) -> os.stat_result:
    if not stat.S_ISREG(status.st_mode):
        raise ArtifactLocationForbidden(
            "There is something other than files and folders at this version's location."
        )
    return status
