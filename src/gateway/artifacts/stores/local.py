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
    FileGone,
    Incoming,
    Listed,
    joined,
    too_many,
)
from gateway.concurrency.threads import in_thread
from gateway.errors import ArtifactsGone, ArtifactsRefused, UpstreamWrong

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


class Local:
    """Files on this machine; whatever a symbolic link leads to must lie below a root as well."""

    def __init__(self, roots: Sequence[str]) -> None:
        self._roots = tuple(roots)

    async def files(self, uri: str) -> list[Listed]:
        """Every file below `uri`; raises ArtifactsRefused where one lies outside of the roots."""
        return await in_thread(self._walk, _path(uri))

    @asynccontextmanager
    async def open(self, uri: str, path: str) -> AsyncIterator[Incoming]:
        """The file `path` below `uri`; raises FileGone where there is none."""
        file = await in_thread(self._opened, joined(_path(uri), path))
        try:
            yield Incoming(os.fstat(file).st_size, None, _Chunks(file))
        finally:
            await in_thread(os.close, file)

    def _walk(self, top: Path) -> list[Listed]:
        found: list[Listed] = []
        folders = [(self._real(top), "", 0)]
        seen = 0
        while folders:
            folder, prefix, depth = folders.pop()
            for entry in _entries(folder):
                seen += 1
                # Bounds the walk, and ends it where a link leads to a folder above itself.
                if seen > MAX_FILES or depth >= MAX_DEPTH:
                    raise too_many()
                real, path = self._real(entry), prefix + entry.name
                if real.is_dir():
                    folders.append((real, f"{path}/", depth + 1))
                else:
                    found.append(Listed(path, _regular(real.stat()).st_size))
        return found

    def _opened(self, path: Path) -> int:
        try:
            # O_NONBLOCK: a pipe put there would hold the thread for ever.
            file = os.open(self._real(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except (ArtifactsGone, FileNotFoundError) as error:
            raise FileGone(f"The file {path.name} of this version is not at its location.") from error
        except OSError as error:
            raise UpstreamWrong(f"The file {path.name} of this version cannot be read.") from error
        try:
            _regular(os.fstat(file))
        except ArtifactsRefused:
            os.close(file)
            raise
        return file

    def _real(self, path: Path) -> Path:
        """`path` without symbolic links, if that is below a root."""
        try:
            real = path.resolve()
        except (OSError, RuntimeError, ValueError) as error:
            raise ArtifactsRefused("This version's location cannot be followed.") from error
        if not any(real.is_relative_to(Path(root).resolve()) for root in self._roots):
            raise ArtifactsRefused(
                "This version's files lie in a folder that this gateway may not read: "
                "GATEWAY_ARTIFACT_ROOTS names those that it may."
            )
        # Only now: whether something exists outside of the roots is nobody's business.
        if not real.exists():
            raise ArtifactsGone("There are no files at this version's location.")
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
            raise UpstreamWrong("A file of this version cannot be read.") from error
        if not chunk:
            raise StopAsyncIteration
        return chunk


def _path(uri: str) -> Path:
    """The path that `uri` names; raises ArtifactsRefused where it is on another host or relative."""
    if uri.startswith("/"):
        return Path(uri)
    parts = urlsplit(uri)
    path = Path(unquote(parts.path))
    if parts.netloc not in {"", "localhost"} or not path.is_absolute() or "\0" in parts.path:
        raise ArtifactsRefused(
            "This version's location is no absolute path on this machine: file:///… would be right."
        )
    return path


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except NotADirectoryError as error:
        raise ArtifactsGone("This version's location is a file, not a model's folder.") from error
    except OSError as error:
        raise UpstreamWrong("This version's location cannot be read.") from error


def _regular(status: os.stat_result) -> os.stat_result:
    if not stat.S_ISREG(status.st_mode):
        raise ArtifactsRefused("There is something other than files and folders at this version's location.")
    return status
