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

from gateway.artifacts.stores.base import (
    RemoteFile,
    StoredFile,
    digest_file,
    file_too_large_error,
    safe_path,
    validate_model_files,
)
from gateway.concurrency.task_group import unwrapping_task_group
from gateway.concurrency.threads import in_digest_thread, in_thread
from gateway.errors import BadUpstreamResponse, UpstreamTimeout

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Mapping

    from gateway.artifacts.progress import DownloadProgress

logger = logging.getLogger(__name__)
_PROGRESS_SECONDS = 0.5
_MAX_PROCESSES = 2
# MLflow would send the tracking server's credentials to whatever http(s) host a location names.
_WITHHELD_VARIABLES = frozenset(
    {"MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"}
)


class MlflowSubprocessStore:
    """Locations of any scheme that MLflow knows; one process for each download."""

    def __init__(
        self, environment: Mapping[str, str], *, download_timeout: float = 3600, read_timeout: float = 60
    ) -> None:
        """A whole model may take `seconds`, one small file `read_seconds`, once its process may begin."""
        self._environment = {
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
            **{
                name: value
                for name, value in environment.items()
                if not name.startswith("GATEWAY_") and name not in _WITHHELD_VARIABLES
            },
        }
        self._download_timeout = download_timeout
        self._read_timeout = read_timeout
        self._download_slots, self._read_slots = (
            asyncio.Semaphore(_MAX_PROCESSES),
            asyncio.Semaphore(_MAX_PROCESSES),
        )

    async def find(self, uri: str) -> MlflowSubprocessModel:
        """The files at `uri`; whether a model is there shows when they are fetched."""
        return MlflowSubprocessModel(self, uri)

    async def read(self, uri: str, path: str, *, limit: int) -> bytes | None:
        """One file at `uri`, None where there is none; UpstreamWrong where it is over `limit` bytes."""
        scratch = Path(await in_thread(tempfile.mkdtemp))
        try:
            target = scratch / "file"
            order = {"uri": uri, "folder": str(target), "path": safe_path(path), "limit": limit}
            async with self._read_slots:
                outcome = await self._run_process(order, seconds=self._read_timeout)
            if outcome == "absent":
                return None
            content = b"" if outcome == "large" else await in_thread(_read_prefix, target, limit + 1)
            if outcome == "large" or len(content) > limit:
                raise file_too_large_error(path, limit)
            return content
        finally:
            await in_thread(shutil.rmtree, scratch, ignore_errors=True)

    async def download(self, order: Mapping[str, Any]) -> str:
        """The outcome of `order` in a process of its own, which has ended afterwards whatever happens.

        Of such processes there are a few at once: each takes the memory of an imported mlflow.
        Raises UpstreamWrong where it failed, UpstreamSlow where it took too long, and OSError where the
        disk is full.
        """
        async with self._download_slots:
            return await self._run_process(order, seconds=self._download_timeout)

    async def _run_process(self, order: Mapping[str, Any], *, seconds: float) -> str:
        process = await asyncio.create_subprocess_exec(
            # -P: no folder of downloaded files may ever become a place to import from.
            *(sys.executable, "-P", "-m", "gateway.artifacts.stores.mlflow_child"),
            stdin=PIPE, stdout=PIPE, stderr=PIPE, env=self._environment, cwd="/", start_new_session=True,
        )  # fmt: skip
        try:
            async with asyncio.timeout(seconds):
                return _parse_outcome(*await _exchange(process, order))
        except TimeoutError as error:
            raise UpstreamTimeout("The store of this version's files did not give them in time.") from error
        finally:
            await _kill_and_wait(process)


@dataclass(frozen=True)
class MlflowSubprocessModel:
    """A model's files, of which nothing is known before they are here."""

    store: MlflowSubprocessStore
    uri: str
    size: None = None

    async def fetch(self, folder: Path, meter: DownloadProgress) -> tuple[StoredFile, ...]:
        """Bring every file below `folder`, and digest them."""
        await in_thread(folder.rmdir)
        async with unwrapping_task_group() as group:
            watching = group.create_task(_report_progress(folder.parent, meter))
            await self.store.download({"uri": self.uri, "folder": str(folder)})
            watching.cancel()
        files = await in_digest_thread(_collect_files, folder)
        meter.add(max(0, sum(file.size for file in files) - meter.done_bytes))
        return files


async def _report_progress(folder: Path, meter: DownloadProgress) -> None:
    while True:
        await asyncio.sleep(_PROGRESS_SECONDS)
        meter.add(max(0, await in_thread(_folder_bytes, folder) - meter.done_bytes))


async def _exchange(process: Process, order: Mapping[str, Any]) -> tuple[bytes, bytes]:
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise RuntimeError("the process has no pipes")
    process.stdin.write(json.dumps(order).encode() + b"\n")
    # The location may hold a password: it goes through the pipe, not through the list of processes.
    # The pipe stays open, since its end tells the process that the gateway is gone.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        await process.stdin.drain()
    said, errors, _ = await asyncio.gather(process.stdout.read(), process.stderr.read(), process.wait())
    return said, errors


def _parse_outcome(said: bytes, errors: bytes) -> str:
    try:
        answer = json.loads(said)
        outcome = str(answer["outcome"])
    except (ValueError, KeyError, TypeError) as error:
        logger.error("the download process gave no answer: %s", errors[-4000:].decode(errors="replace"))
        raise BadUpstreamResponse(
            "The process that fetches this version's files ended without an answer."
        ) from error
    if outcome == "failed":
        logger.error("the download failed: %s", answer.get("log"))
        raise BadUpstreamResponse(f"MLflow could not fetch this version's files: {answer.get('exception')}.")
    if outcome == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return outcome


async def _kill_and_wait(process: Process) -> None:
    if process.returncode is None:
        # The whole session: MLflow starts processes of its own for large files.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if process.stdin is not None:
        process.stdin.close()
    await process.wait()


def _collect_files(folder: Path) -> tuple[StoredFile, ...]:
    paths = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    if any(path.is_symlink() or not path.is_file() for path in paths):
        raise BadUpstreamResponse(
            "There is something other than files and folders at this version's location."
        )
    listed = validate_model_files(
        RemoteFile(path.relative_to(folder).as_posix(), path.stat().st_size) for path in paths
    )
    return tuple(_fsync_and_digest(folder, file) for file in sorted(listed, key=lambda file: file.path))


def _fsync_and_digest(folder: Path, file: RemoteFile) -> StoredFile:
    path = folder / file.path
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
    return StoredFile(file.path, path.stat().st_size, digest_file(path))


def _folder_bytes(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        # Names come and go while MLflow puts files in their places.
        with contextlib.suppress(OSError):
            size += path.lstat().st_size
    return size


def _read_prefix(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)
