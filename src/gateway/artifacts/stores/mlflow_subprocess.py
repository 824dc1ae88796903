"""Every other location that the operator allows, by MLflow's own code in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.artifacts.stores.base import Listed, StoredFile, checked, digest, model_files, too_large
from gateway.concurrency.task_group import together
from gateway.concurrency.threads import digesting, in_thread
from gateway.errors import UpstreamSlow, UpstreamWrong

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Mapping

    from gateway.artifacts.progress import Meter

logger = logging.getLogger(__name__)
_LOOK_SECONDS = 0.5
_PROCESSES = 2
# MLflow would send the tracking server's credentials to whatever http(s) host a location names.
_KEPT_BACK = frozenset({"MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"})


class MlflowDownload:
    """Locations of any scheme that MLflow knows; one process for each download."""

    def __init__(
        self, environment: Mapping[str, str], *, seconds: float = 3600, read_seconds: float = 60
    ) -> None:
        """A whole model may take `seconds`, one small file `read_seconds`, once its process may begin."""
        self._environment = {
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
            **{
                name: value
                for name, value in environment.items()
                if not name.startswith("GATEWAY_") and name not in _KEPT_BACK
            },
        }
        self._seconds = seconds
        self._read_seconds = read_seconds
        self._downloads, self._reads = asyncio.Semaphore(_PROCESSES), asyncio.Semaphore(_PROCESSES)

    async def find(self, uri: str) -> ProcessTree:
        """The files at `uri`; whether a model is there shows when they are fetched."""
        return ProcessTree(self, uri)

    async def read(self, uri: str, path: str, *, limit: int) -> bytes | None:
        """One file at `uri`, None where there is none; UpstreamWrong where it is over `limit` bytes."""
        scratch = Path(await in_thread(tempfile.mkdtemp))
        try:
            target = scratch / "file"
            order = {"uri": uri, "folder": str(target), "path": checked(path), "limit": limit}
            async with self._reads:
                outcome = await self._run(order, seconds=self._read_seconds)
            if outcome == "absent":
                return None
            content = b"" if outcome == "large" else await in_thread(_start_of, target, limit + 1)
            if outcome == "large" or len(content) > limit:
                raise too_large(path, limit)
            return content
        finally:
            await in_thread(shutil.rmtree, scratch, ignore_errors=True)

    async def run(self, order: Mapping[str, Any]) -> str:
        """The outcome of `order` in a process of its own, which has ended afterwards whatever happens.

        Of such processes there are a few at once: each takes the memory of an imported mlflow.
        Raises UpstreamWrong where it failed, UpstreamSlow where it took too long, and OSError where the
        disk is full.
        """
        async with self._downloads:
            return await self._run(order, seconds=self._seconds)

    async def _run(self, order: Mapping[str, Any], *, seconds: float) -> str:
        process = await asyncio.create_subprocess_exec(
            # -P: no folder of downloaded files may ever become a place to import from.
            *(sys.executable, "-P", "-m", "gateway.artifacts.stores.mlflow_child"),
            stdin=PIPE, stdout=PIPE, stderr=PIPE, env=self._environment, cwd="/", start_new_session=True,
        )  # fmt: skip
        try:
            async with asyncio.timeout(seconds):
                return _outcome(*await _conversation(process, order))
        except TimeoutError as error:
            raise UpstreamSlow("The store of this version's files did not give them in time.") from error
        finally:
            await _ended(process)


@dataclass(frozen=True)
class ProcessTree:
    """A model's files, of which nothing is known before they are here."""

    store: MlflowDownload
    uri: str
    size: None = None

    async def fetch(self, folder: Path, meter: Meter) -> tuple[StoredFile, ...]:
        """Bring every file below `folder`, and digest them."""
        await in_thread(folder.rmdir)
        async with together() as group:
            watching = group.create_task(_watch(folder.parent, meter))
            await self.store.run({"uri": self.uri, "folder": str(folder)})
            watching.cancel()
        files = await digesting(_stored, folder)
        meter.add(max(0, sum(file.size for file in files) - meter.done))
        return files


async def _watch(folder: Path, meter: Meter) -> None:
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        meter.add(max(0, await in_thread(_bytes_below, folder) - meter.done))


async def _conversation(process: Process, order: Mapping[str, Any]) -> tuple[bytes, bytes]:
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise RuntimeError("the process has no pipes")
    process.stdin.write(json.dumps(order).encode() + b"\n")
    # The location may hold a password: it goes through the pipe, not through the list of processes.
    # The pipe stays open, since its end tells the process that the gateway is gone.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        await process.stdin.drain()
    said, errors, _ = await asyncio.gather(process.stdout.read(), process.stderr.read(), process.wait())
    return said, errors


def _outcome(said: bytes, errors: bytes) -> str:
    try:
        answer = json.loads(said)
        outcome = str(answer["outcome"])
    except (ValueError, KeyError, TypeError) as error:
        logger.error("the download process gave no answer: %s", errors[-4000:].decode(errors="replace"))
        raise UpstreamWrong(
            "The process that fetches this version's files ended without an answer."
        ) from error
    if outcome == "failed":
        logger.error("the download failed: %s", answer.get("log"))
        raise UpstreamWrong(f"MLflow could not fetch this version's files: {answer.get('exception')}.")
    if outcome == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return outcome


async def _ended(process: Process) -> None:
    if process.returncode is None:
        # The whole session: MLflow starts processes of its own for large files.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if process.stdin is not None:
        process.stdin.close()
    await process.wait()


def _stored(folder: Path) -> tuple[StoredFile, ...]:
    paths = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    if any(path.is_symlink() or not path.is_file() for path in paths):
        raise UpstreamWrong("There is something other than files and folders at this version's location.")
    listed = model_files(Listed(path.relative_to(folder).as_posix(), path.stat().st_size) for path in paths)
    return tuple(_synced(folder, file) for file in sorted(listed, key=lambda file: file.path))


def _synced(folder: Path, file: Listed) -> StoredFile:
    path = folder / file.path
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
    return StoredFile(file.path, path.stat().st_size, digest(path))


def _bytes_below(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        # Names come and go while MLflow puts files in their places.
        with contextlib.suppress(OSError):
            size += path.lstat().st_size
    return size


def _start_of(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)
