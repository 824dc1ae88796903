"""Runs uv: confined, in a process group of its own, with a time limit, and with secrets out of its texts."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import sys
from asyncio.subprocess import PIPE
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.concurrency.threads import in_thread
from gateway.environments import uv_environment
from gateway.environments.uv_output import UvOutput
from gateway.errors import CacheUnusable
from workers.process_group import kill_group

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Iterable, Mapping, Sequence

    from workers.wall.policy import WallMode

logger = logging.getLogger(__name__)
_READY: Final = b"ready\n"
_NOT_CONFINED: Final = 125  # the exit status of `confined`
_MAX_REASON_CHARS: Final = 1_000
_MAX_OUTPUT_BYTES: Final = 8 * 2**20
_MAX_PROCESSES: Final = 2
_COMMON: Final = ("--no-config", "--no-python-downloads", "--color", "never")


class Uv:
    """A runner of uv: at most two processes at once, each ended with its caller and with the gateway."""

    def __init__(
        self, program: Path, environment: Mapping[str, str], *, netrc: str, wall: WallMode, cache: Path
    ) -> None:
        """uv gets those variables of `environment` that configure indexes, and `netrc` unless it names one.

        `cache` is uv's cache, unless `environment` names another.
        """
        self._program = program.resolve()
        given = uv_environment.uv_environment(environment)
        self._variables = {"UV_CACHE_DIR": str(cache)} | given | uv_environment.pip_environment(given)
        self._netrc = "" if "NETRC" in given else netrc
        self._wall: WallMode = wall
        self._slots = asyncio.Semaphore(_MAX_PROCESSES)
        self.cache = Path(self._variables["UV_CACHE_DIR"])
        self.secrets = uv_environment.secrets_in(given) + _netrc_secrets(netrc)

    async def run(
        self,
        *arguments: str,
        scratch: Path,
        read: Iterable[str] = (),
        write: Iterable[str] = (),
    ) -> UvOutput:
        """Return what uv answers to `arguments`, which must hold no secret.

        It may read `read` and change what is in `scratch`, `write` and its cache. It ends if the caller is
        cancelled.
        """
        command = [str(self._program), *arguments, *_COMMON]
        return await self.run_program(command, scratch=scratch, read=read, write=write)

    async def run_program(
        self, command: Sequence[str], *, scratch: Path, read: Iterable[str] = (), write: Iterable[str] = ()
    ) -> UvOutput:
        """Return what another program answers, which is run as uv is."""
        request = {
            "command": [*command],
            "environment": self._variables | {"HOME": str(scratch), "TMPDIR": str(scratch)},
            "netrc": self._netrc,
            "wall": self._wall,
            "read": [str(self._program), *uv_environment.named_files(self._variables), *read],
            "write": [str(scratch), str(self.cache), *write],
        }
        async with self._slots:
            await in_thread(self.cache.mkdir, parents=True, exist_ok=True)  # else it cannot be allowed
            output = await self._run(request)
        if output.status == _NOT_CONFINED:
            reason = output.stderr[-_MAX_REASON_CHARS:]
            extra = {"event": "environment_builder_not_confined", "reason": reason}
            logger.error("The builder of environments cannot be confined: %s", reason, extra=extra)
            raise CacheUnusable("Environments cannot be built here: their builder could not be confined.")
        return output

    async def _run(self, request: Mapping[str, object]) -> UvOutput:
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                process = await _start(theirs.fileno())
            try:
                return await _exchange(process, ours, request)
            finally:
                await _end(process)


async def _start(stdin: int) -> Process:
    variables = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "PYTHONPATH") if name in os.environ}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "gateway.environments.confined"),
        stdin=stdin, stdout=PIPE, stderr=PIPE, env=variables | _coverage(), cwd="/",
        start_new_session=True, limit=_MAX_OUTPUT_BYTES,
    )  # fmt: skip


def _coverage() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}


async def _exchange(process: Process, stdin: socket.socket, request: Mapping[str, object]) -> UvOutput:
    if process.stdout is None or process.stderr is None:
        raise RuntimeError("The process has no pipes")
    if await process.stdout.readline() == _READY:
        # Not as arguments and environment, which other processes of this user can read. It stays open.
        stdin.setblocking(False)
        with suppress(BrokenPipeError, ConnectionResetError):
            await asyncio.get_running_loop().sock_sendall(stdin, json.dumps(request).encode() + b"\n")
    stdout, stderr, status = await asyncio.gather(
        _read(process.stdout), _read(process.stderr), process.wait()
    )
    return UvOutput(status, stdout, stderr)


async def _read(stream: asyncio.StreamReader) -> str:
    """Return what the stream has until it ends; of more than 8 MiB, the last."""
    kept = bytearray()
    while chunk := await stream.read(2**16):
        kept += chunk
        if len(kept) > 2 * _MAX_OUTPUT_BYTES:
            del kept[:-_MAX_OUTPUT_BYTES]
    return kept[-_MAX_OUTPUT_BYTES:].decode(errors="replace")


async def _end(process: Process) -> None:
    kill_group(process.pid, collected=process.returncode is not None)
    waiting = asyncio.ensure_future(process.wait())
    while not waiting.done():  # a second cancellation must not leave it to write into a removed folder
        with suppress(asyncio.CancelledError):
            await asyncio.wait([waiting])


def _netrc_secrets(text: str) -> tuple[str, ...]:
    words = text.split()
    return tuple(
        following
        for word, following in pairwise(words)
        if word in {"password", "login", "account"} and len(following) >= 4
    )
