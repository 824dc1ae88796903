"""Downloads a model file by file: in parallel, in chunks, with sizes and digests checked on the way."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.artifacts.stores.base import (
    CHUNK_BYTES,
    ArtifactFileNotFound,
    StoredFile,
    file_too_large_error,
    safe_join,
    safe_path,
    validate_model_files,
)
from gateway.concurrency.task_group import unwrapping_task_group
from gateway.concurrency.threads import in_thread
from gateway.errors import BadUpstreamResponse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.artifacts.progress import DownloadProgress
    from gateway.artifacts.stores.base import FileStore, IncomingFile, RemoteFile

_MAX_PARALLEL = 6


class FileByFileStore:
    """A Store on top of a FileStore, which serves single files."""

    def __init__(self, store: FileStore) -> None:
        self._store = store

    async def find(self, uri: str) -> FileByFileModel:
        """Return the model at `uri`; raise ArtifactsNotFound if there is none."""
        return FileByFileModel(
            self._store, uri, files=validate_model_files(await self._store.list_files(uri))
        )

    async def read(self, uri: str, path: str, *, limit: int) -> bytes | None:
        """Return one file at `uri` or None; raise BadUpstreamResponse if it is over `limit` bytes."""
        content = bytearray()
        try:
            async with self._store.open(uri, safe_path(path)) as incoming:
                async for chunk in incoming.chunks:
                    content += chunk
                    if len(content) > limit:
                        raise file_too_large_error(path, limit)
        except ArtifactFileNotFound:
            return None
        _check_size(path, len(content), expected=incoming.size)
        return bytes(content)


@dataclass(frozen=True)
class FileByFileModel:
    """A model whose files are listed and not yet downloaded."""

    store: FileStore
    uri: str
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> int | None:
        """The bytes of all files together, or None if the size of one is unknown."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size or 0 for size in sizes)

    async def fetch(self, folder: Path, progress: DownloadProgress) -> tuple[StoredFile, ...]:
        """Download every file to `folder`, a few at a time; the first failure cancels the others."""
        # The largest first, so that small files fill the time while it downloads.
        remaining = iter(sorted(self.files, key=lambda file: -(file.size or 0)))
        async with unwrapping_task_group() as group:
            tasks = [
                group.create_task(self._download_worker(remaining, folder, progress=progress))
                for _ in range(min(_MAX_PARALLEL, len(self.files)))
            ]
        return tuple(sorted((file for task in tasks for file in task.result()), key=lambda file: file.path))

    async def _download_worker(
        self, remaining: Iterator[RemoteFile], folder: Path, *, progress: DownloadProgress
    ) -> list[StoredFile]:
        try:
            return [await self._download_file(file, folder, progress=progress) for file in remaining]
        except ArtifactFileNotFound as error:
            # The store lists the file and does not have it: a fault of the store, perhaps a transient one.
            raise BadUpstreamResponse(str(error)) from error

    async def _download_file(
        self, file: RemoteFile, folder: Path, *, progress: DownloadProgress
    ) -> StoredFile:
        async with self.store.open(self.uri, file.path) as incoming:
            writer = DigestingWriter(safe_join(folder, file.path), md5=incoming.md5 is not None)
            try:
                await in_thread(writer.open)
                await self._receive(file, incoming, writer=writer, progress=progress)
                await in_thread(writer.finish)
            finally:
                await in_thread(writer.close)
        for expected in (file.size, incoming.size):
            _check_size(file.path, writer.size, expected=expected)
        if incoming.md5 != writer.md5:
            raise BadUpstreamResponse(
                f"The file {file.path} was damaged on the way from its store: its MD5 differs."
            )
        return StoredFile(file.path, writer.size, writer.sha256)

    async def _receive(
        self, file: RemoteFile, incoming: IncomingFile, *, writer: DigestingWriter, progress: DownloadProgress
    ) -> None:
        expected = file.size if file.size is not None else incoming.size
        async for chunk in incoming.chunks:
            writer.add(chunk)
            progress.add(len(chunk))
            if expected is not None and writer.size > expected:
                raise BadUpstreamResponse(
                    f"The file {file.path} is longer than its store lists: over {expected} bytes."
                )
            # HTTP chunks are some ten KiB: a call in a thread for each would cost more than the writing.
            if writer.buffered_bytes >= CHUNK_BYTES:
                await in_thread(writer.write)


class DigestingWriter:
    """A writer that digests its file; call `open`, `write`, `finish` and `close` in a thread."""

    def __init__(self, path: Path, *, md5: bool = False) -> None:
        self._path = path
        self._file: int | None = None
        self._pieces: list[bytes] = []
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False) if md5 else None
        self.size = 0
        self.buffered_bytes = 0

    @property
    def sha256(self) -> str:
        """The digest of the written bytes."""
        return self._sha256.hexdigest()

    @property
    def md5(self) -> str | None:
        """The MD5 of the written bytes if requested: the only digest that S3 has for plain objects."""
        return self._md5.hexdigest() if self._md5 else None

    def add(self, piece: bytes) -> None:
        """Buffer `piece` until the next `write`."""
        self._pieces.append(piece)
        self.size += len(piece)
        self.buffered_bytes += len(piece)

    def open(self) -> None:
        """Create the file, which must not exist, and its folders."""
        _make_folders(self._path.parent)
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)

    def write(self) -> None:
        """Write and digest the buffered pieces."""
        if self._file is None:
            raise ValueError("The file is not open")
        pieces, self._pieces, self.buffered_bytes = self._pieces, [], 0
        for piece in pieces:
            view = memoryview(piece)
            self._sha256.update(view)
            if self._md5:
                self._md5.update(view)
            while view:
                view = view[os.write(self._file, view) :]

    def finish(self) -> None:
        """Write the buffered pieces and fsync the file."""
        self.write()
        if self._file is not None:
            os.fsync(self._file)

    def close(self) -> None:
        """Close the file, complete or not; do nothing if it is not open."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def _make_folders(folder: Path) -> None:
    # `parents=True` would create all but the last folder with the umask's mode.
    if not folder.is_dir():
        _make_folders(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _check_size(path: str, size: int, *, expected: int | None) -> None:
    if expected is not None and size != expected:
        raise BadUpstreamResponse(f"The file {path} arrived incomplete: {size} of {expected} bytes.")
