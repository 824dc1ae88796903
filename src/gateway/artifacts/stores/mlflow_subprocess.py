"""Reads all other allowed locations with MLflow's own code, in a process per download."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import shutil
import site
import socket
import stat
import sys
import tempfile
from asyncio.subprocess import PIPE
from dataclasses import dataclass
from importlib.util import find_spec
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
from gateway.settings.client_files import ClientFiles
from gateway.system.redaction import redact_urls
from workers.process_group import kill_group

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.artifacts.progress import DownloadProgress
    from workers.wall.policy import WallMode

logger = logging.getLogger(__name__)
_PROGRESS_SECONDS = 0.5
_MAX_PROCESSES = 2
# MLflow would send the tracking server's credentials to any http(s) host that a location names.
_WITHHELD_VARIABLES = frozenset(
    {"MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"}
)
# What Python and the system's loader read before the process can hide itself. None of it is secret.
_START_VARIABLES = frozenset({"PATH", "LANG", "TZ"})
_START_PREFIXES = ("PYTHON", "LC_", "LD_", "DYLD_", "COVERAGE_")
_DEFAULTS = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Else MLflow starts a program for each part of a large file, with signed addresses among its arguments,
    # which every user of the machine can list, and with all of its environment.
    "MLFLOW_ENABLE_MULTIPART_DOWNLOAD": "false",
}
_READY = b"ready\n"


class MlflowSubprocessStore:
    """A store for any scheme that MLflow supports; each download runs in a process of its own."""

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        files: ClientFiles | None = None,
        wall: WallMode = "auto",
        readable: Sequence[str] = (),
        download_timeout: float = 3600,
        read_timeout: float = 60,
    ) -> None:
        """Allow `download_timeout` seconds for a model and `read_timeout` for one file.

        Of the user's home folder, a process sees only `files`. `wall` is how it is confined: a download must
        not run what it fetches, and if it does, that reaches little. It may read the folders of `readable`.
        """
        given = {
            name: value
            for name, value in environment.items()
            if not name.startswith("GATEWAY_") and name not in _WITHHELD_VARIABLES
        }
        self._start_variables = {
            name: value
            for name, value in environment.items()
            if name in _START_VARIABLES or name.startswith(_START_PREFIXES)
        }
        files = files or ClientFiles()
        folders = {name: path for name, path in files.folders.items() if not name.startswith("~")}
        self._options = tuple(_user_site_option())
        self._wall = {"wall": wall, "readable": list(readable)}
        self._secrets = {"environment": _DEFAULTS | folders | given, **_secret_files(files)}
        self._download_timeout = download_timeout
        self._read_timeout = read_timeout
        self._download_slots = asyncio.Semaphore(_MAX_PROCESSES)
        self._read_slots = asyncio.Semaphore(_MAX_PROCESSES)

    async def find(self, uri: str) -> MlflowSubprocessModel:
        """Return the model at `uri`; whether it exists is found out by its download."""
        return MlflowSubprocessModel(self, uri)

    async def read(self, uri: str, path: str, *, limit: int) -> bytes | None:
        """Return one file at `uri` or None; raise BadUpstreamResponse if it is over `limit` bytes."""
        folder = Path(await in_thread(tempfile.mkdtemp))
        try:
            target = folder / "file"
            request = {"uri": uri, "folder": str(target), "path": safe_path(path), "limit": limit}
            async with self._read_slots:
                outcome = await self._run_process(request, timeout=self._read_timeout)
            if outcome == "absent":
                return None
            content = b"" if outcome == "large" else await in_thread(_read_prefix, target, limit + 1)
            if outcome == "large" or len(content) > limit:
                raise file_too_large_error(path, limit)
            return content
        finally:
            await in_thread(shutil.rmtree, folder, ignore_errors=True)

    async def download(self, request: Mapping[str, Any]) -> str:
        """Return the outcome of `request`, executed in a process that has ended when this returns.

        Only a few such processes run at once, because each needs the memory of an imported mlflow. Raise
        BadUpstreamResponse if it failed, UpstreamTimeout if it took too long, OSError if the disk is full.
        """
        async with self._download_slots:
            return await self._run_process(request, timeout=self._download_timeout)

    async def _run_process(self, request: Mapping[str, Any], *, timeout: float) -> str:  # noqa: ASYNC109 - of the process
        scratch = await in_thread(tempfile.mkdtemp)
        # A socket, because another process of this user could open a pipe before the process is hidden.
        ours, theirs = socket.socketpair()
        try:
            with ours:
                with theirs:
                    process = await self._start_process(theirs.fileno())
                return await self._wait_for_outcome(
                    process,
                    ours,
                    {**request, **self._secrets, "scratch": scratch, **self._wall},
                    timeout=timeout,
                )
        finally:
            await in_thread(shutil.rmtree, scratch, ignore_errors=True)

    async def _start_process(self, stdin: int) -> Process:
        return await asyncio.create_subprocess_exec(
            # -P: the process must never import from a folder of downloaded files.
            *(sys.executable, "-P", *self._options, "-m", "gateway.artifacts.stores.mlflow_child"),
            stdin=stdin, stdout=PIPE, stderr=PIPE, env=self._start_variables, cwd="/", start_new_session=True,
        )  # fmt: skip

    async def _wait_for_outcome(
        self,
        process: Process,
        stdin: socket.socket,
        request: Mapping[str, Any],
        *,
        timeout: float,  # noqa: ASYNC109 - of the process, which this ends
    ) -> str:
        try:
            async with asyncio.timeout(timeout):
                return _parse_outcome(*await _exchange(process, stdin, request))
        except TimeoutError as error:
            raise UpstreamTimeout(
                "This version's files could not be downloaded from their store in time."
            ) from error
        finally:
            await _kill_and_wait(process)


@dataclass(frozen=True)
class MlflowSubprocessModel:
    """A model of which nothing is known before its download."""

    store: MlflowSubprocessStore
    uri: str
    size: None = None

    async def fetch(self, folder: Path, progress: DownloadProgress) -> tuple[StoredFile, ...]:
        """Download every file to `folder` and digest it."""
        await in_thread(folder.rmdir)
        async with unwrapping_task_group() as group:
            reporter = group.create_task(_report_progress(folder.parent, progress))
            await self.store.download({"uri": self.uri, "folder": str(folder)})
            reporter.cancel()
        files = await in_digest_thread(_collect_files, folder)
        progress.add(max(0, sum(file.size for file in files) - progress.done_bytes))
        return files


async def _report_progress(folder: Path, progress: DownloadProgress) -> None:
    while True:
        await asyncio.sleep(_PROGRESS_SECONDS)
        progress.add(max(0, await in_thread(_folder_bytes, folder) - progress.done_bytes))


async def _exchange(
    process: Process, stdin: socket.socket, request: Mapping[str, Any]
) -> tuple[bytes, bytes]:
    """Send the request once the process is hidden, and return what it wrote to its output and errors."""
    if process.stdout is None or process.stderr is None:
        raise RuntimeError("The process has no pipes")
    if await process.stdout.readline() == _READY:
        # Not as arguments and environment, which other processes of this user can read, arguments even those
        # of other users. The socket stays open; the process ends when it closes.
        stdin.setblocking(False)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await asyncio.get_running_loop().sock_sendall(stdin, json.dumps(request).encode() + b"\n")
    stdout, stderr, _ = await asyncio.gather(process.stdout.read(), process.stderr.read(), process.wait())
    return stdout, stderr


def _secret_files(files: ClientFiles) -> dict[str, dict[str, str]]:
    """Return the user's files and folders in the form that the process takes.

    MLflow's own credentials are not among them: MLflow would send them to any http(s) host.
    """
    return {
        "files": {name: files.text(name) for name in files.contents if not name.startswith("~")},
        "links": {
            Path(folder).name: folder for name, folder in files.folders.items() if name.startswith("~")
        },
    }


def _user_site_option() -> Iterator[str]:
    """Yield the option that ignores packages in the home folder, unless MLflow is one of them."""
    spec = find_spec("mlflow")
    if spec is None or not str(spec.origin).startswith(site.getusersitepackages()):
        yield "-s"


def _parse_outcome(stdout: bytes, stderr: bytes) -> str:
    try:
        result = json.loads(stdout)
        outcome = str(result["outcome"])
    except (ValueError, KeyError, TypeError) as error:
        logger.error(
            "The download process ended without a result: %s",
            redact_urls(stderr[-4000:].decode(errors="replace")),
            extra={"event": "download_process_died"},
        )
        raise BadUpstreamResponse(
            "The process that downloads this version's files ended without a result."
        ) from error
    if outcome == "failed":
        log = redact_urls(str(result.get("log")))
        logger.error("MLflow's download failed: %s", log, extra={"event": "download_failed"})
        exception = result.get("exception")
        raise BadUpstreamResponse(f"MLflow could not download this version's files: {exception}.")
    if outcome == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return outcome


async def _kill_and_wait(process: Process) -> None:
    # The whole session, because MLflow starts further processes for large files, which may outlive it.
    kill_group(process.pid, collected=process.returncode is not None)
    await process.wait()


def _collect_files(folder: Path) -> tuple[StoredFile, ...]:
    if folder.is_symlink() or not folder.is_dir():
        raise BadUpstreamResponse("This version's location is not a folder.")
    paths = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    if any(path.is_symlink() or not path.is_file() for path in paths):
        raise BadUpstreamResponse("This version's location contains something other than files and folders.")
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
        # A name may vanish at any time while MLflow moves files.
        with contextlib.suppress(OSError):
            size += path.lstat().st_size
    return size


def _read_prefix(path: Path, count: int) -> bytes:
    # Not by a link, nor from a pipe that nothing is written to: what made the file runs code of others.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BadUpstreamResponse("This version's location contains something other than files.")
        return file.read(count)
