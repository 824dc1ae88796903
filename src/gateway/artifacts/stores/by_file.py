"""Files one by one from a store to a folder: in parallel, in pieces, digested and checked on the way."""

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
    """A Store made of a store that gives its files one by one."""

    def __init__(self, store: FileStore) -> None:
        self._store = store

    async def find(self, uri: str) -> FileByFileModel:
        """The model's files at `uri`; raises ArtifactsGone where no model is there."""
        return FileByFileModel(
            self._store, uri, files=validate_model_files(await self._store.list_files(uri))
        )

    async def read(self, uri: str, path: str, *, limit: int) -> bytes | None:
        """One file at `uri`, None where there is none; UpstreamWrong where it is over `limit` bytes."""
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
    """A model's files, listed and not yet fetched."""

    store: FileStore
    uri: str
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> int | None:
        """Bytes of all files together, None where the store did not tell for one of them."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size or 0 for size in sizes)

    async def fetch(self, folder: Path, meter: DownloadProgress) -> tuple[StoredFile, ...]:
        """Bring every file below `folder`, some at a time; the first failure ends the others."""
        # The largest first: the small ones then fill the gaps beside it.
        waiting = iter(sorted(self.files, key=lambda file: -(file.size or 0)))
        async with unwrapping_task_group() as group:
            tasks = [
                group.create_task(self._download_worker(waiting, folder, meter=meter))
                for _ in range(min(_MAX_PARALLEL, len(self.files)))
            ]
        return tuple(sorted((file for task in tasks for file in task.result()), key=lambda file: file.path))

    async def _download_worker(
        self, waiting: Iterator[RemoteFile], folder: Path, *, meter: DownloadProgress
    ) -> list[StoredFile]:
        try:
            return [await self._download_file(file, folder, meter=meter) for file in waiting]
        except ArtifactFileNotFound as error:
            # Its store lists it and does not have it: that is the store's trouble, and may pass.
            raise BadUpstreamResponse(str(error)) from error

    async def _download_file(self, file: RemoteFile, folder: Path, *, meter: DownloadProgress) -> StoredFile:
        async with self.store.open(self.uri, file.path) as incoming:
            writer = DigestingWriter(safe_join(folder, file.path), md5=incoming.md5 is not None)
            try:
                await in_thread(writer.open)
                await self._receive(file, incoming, writer=writer, meter=meter)
                await in_thread(writer.finish)
            finally:
                await in_thread(writer.close)
        for expected in (file.size, incoming.size):
            _check_size(file.path, writer.size, expected=expected)
        if incoming.md5 != writer.md5:
            raise BadUpstreamResponse(
                f"The file {file.path} did not arrive as it is in its store: another MD5."
            )
        return StoredFile(file.path, writer.size, writer.sha256)

    async def _receive(
        self, file: RemoteFile, incoming: IncomingFile, *, writer: DigestingWriter, meter: DownloadProgress
    ) -> None:
        expected = file.size if file.size is not None else incoming.size
        async for chunk in incoming.chunks:
            writer.add(chunk)
            meter.add(len(chunk))
            if expected is not None and writer.size > expected:
                raise BadUpstreamResponse(
                    f"The file {file.path} is longer than its store says: over {expected} bytes."
                )
            # HTTP gives pieces of some ten KiB: a thread hop for each would cost more than the writing.
            if writer.buffered_bytes >= CHUNK_BYTES:
                await in_thread(writer.write)


class DigestingWriter:
    """One file being written and digested; `open`, `write`, `finish` and `close` are for a thread."""

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
        """Digest of what is written."""
        return self._sha256.hexdigest()

    @property
    def md5(self) -> str | None:
        """MD5 of what is written, where it was asked for: the only digest that S3 tells of plain objects."""
        return self._md5.hexdigest() if self._md5 else None

    def add(self, piece: bytes) -> None:
        """Append `piece`, in memory until the next `write`."""
        self._pieces.append(piece)
        self.size += len(piece)
        self.buffered_bytes += len(piece)

    def open(self) -> None:
        """Make the file, which must not be there yet, and its folders."""
        _make_folders(self._path.parent)
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)

    def write(self) -> None:
        """Write and digest what was added."""
        if self._file is None:
            raise ValueError("the file is not open")
        pieces, self._pieces, self.buffered_bytes = self._pieces, [], 0
        for piece in pieces:
            view = memoryview(piece)
            self._sha256.update(view)
            if self._md5:
                self._md5.update(view)
            while view:
                view = view[os.write(self._file, view) :]

    def finish(self) -> None:
        """Write the rest and have the content on disk for certain."""
        self.write()
        if self._file is not None:
            os.fsync(self._file)

    def close(self) -> None:
        """Close the file, complete or not; may be called at any time."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def _make_folders(folder: Path) -> None:
    # `parents=True` would make all but the last folder with the mode that the umask leaves.
    if not folder.is_dir():
        _make_folders(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _check_size(path: str, size: int, *, expected: int | None) -> None:
    if expected is not None and size != expected:
        raise BadUpstreamResponse(f"The file {path} did not arrive whole: {size} of {expected} bytes.")
