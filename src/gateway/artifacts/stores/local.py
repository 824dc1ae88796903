"""Reads `file:` locations and absolute paths below the folders that the operator allows."""

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
    """A store of files on this machine; targets of symbolic links must also be below a root folder."""

    def __init__(self, roots: Sequence[str], *, follow_links: bool = True) -> None:
        """Reject symbolic links below the root folders unless `follow_links`."""
        self._roots = tuple(roots)
        self._follow_links = follow_links

    async def list_files(self, uri: str) -> list[RemoteFile]:
        """Return every file below `uri`; raise ArtifactLocationForbidden if one is outside the roots."""
        return await in_thread(self._walk, _parse_path(uri))

    @asynccontextmanager
    async def open(self, uri: str, path: str) -> AsyncIterator[IncomingFile]:
        """Open the file `path` below `uri`; raise ArtifactFileNotFound if there is none."""
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
                # Also ends the walk if a link points to a folder above it.
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
            # O_NONBLOCK: opening a named pipe would block the thread for ever.
            file = os.open(self._resolve_allowed(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except (ArtifactsNotFound, FileNotFoundError) as error:
            raise ArtifactFileNotFound(
                f"The file {path.name} of this version does not exist at its location."
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
        """Return `path` with links resolved; raise ArtifactLocationForbidden if it is outside the roots."""
        try:
            real = path.resolve()
        except (OSError, RuntimeError, ValueError) as error:
            raise ArtifactLocationForbidden(
                "This version's location cannot be resolved to a path."
            ) from error
        if not any(real.is_relative_to(Path(root).resolve()) for root in self._roots):
            raise ArtifactLocationForbidden(
                "This version's files are in a folder that the gateway may not read: "
                "GATEWAY_ARTIFACT_ROOTS names the folders that it may read."
            )
        if not self._follow_links and not self._is_without_links(path, real):
            raise ArtifactLocationForbidden(
                "This version's location contains a symbolic link, which GATEWAY_SOURCE_CHECK=own does not "
                "follow: it could lead to files of another model."
            )
        # After the check above, so that no message reveals whether a path outside the roots exists.
        if not real.exists():
            raise ArtifactsNotFound("There are no files at this version's location.")
        return real

    def _is_without_links(self, path: Path, real: Path) -> bool:
        """Return whether `path` leads to `real` without a link below the root folder that it is in."""
        tops = [
            (top, Path(root).resolve()) for root in self._roots for top in (Path(root), Path(root).resolve())
        ]
        return any(path.is_relative_to(top) and base / path.relative_to(top) == real for top, base in tops)


class _Chunks:
    """An iterator over a file's bytes that reads in a thread."""

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
    """Return the path in `uri`; raise ArtifactLocationForbidden for another host or a relative path."""
    if uri.startswith("/"):
        return Path(uri)
    parts = urlsplit(uri)
    path = Path(unquote(parts.path))
    if parts.netloc not in {"", "localhost"} or not path.is_absolute() or "\0" in parts.path:
        raise ArtifactLocationForbidden(
            "This version's location is not an absolute path on this machine such as file:///…."
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
            "This version's location contains something other than files and folders."
        )
    return status
