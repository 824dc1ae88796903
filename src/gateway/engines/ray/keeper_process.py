"""The gateway's side of the keeper: starts that program, reads who the members are, starts it again.

Nothing here imports ray. The program may die at any time; the members stay as they were last known.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from asyncio.subprocess import PIPE, Process, SubprocessStreamProtocol
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from gateway.engines.members import Member
from gateway.system.environment import public_environment
from gateway.system.redaction import redact_urls
from workers.backoff import Backoff
from workers.metrics import CounterSpec
from workers.process_group import kill_group

if TYPE_CHECKING:
    from asyncio import StreamReader
    from collections.abc import Callable, Mapping, Sequence

    from gateway.settings.ray import RaySettings
    from workers.metrics import Counters

    OnChange = Callable[[frozenset[Member]], None]

logger = logging.getLogger(__name__)

PROGRAM: Final = Path(__file__).with_name("keeper.py")
ExitReason = Literal["exit", "silent", "protocol", "start"]
_REASONS: Final[tuple[ExitReason, ...]] = ("exit", "silent", "protocol", "start")
KEEPER_EXITS: Final = CounterSpec(
    "ray_keeper_exits",
    "Ends of the process that asks Ray for the node agents, each followed by a restart: exit (by itself),"
    " silent (killed because it wrote nothing), protocol (killed because it wrote what it may not), or start"
    " (it could not be started).",
    ("reason",),
)
_MAX_LINE_BYTES: Final = 2**20  # some ten thousand members
_MAX_LOG_BYTES: Final = 4000
_STABLE_SECONDS: Final = 60.0  # after a run so long, the pause starts again at the initial one


@dataclass(frozen=True, slots=True)
class KeeperLimits:
    """Seconds: `silence` between two lines of the program, and the pauses before it is started again."""

    silence: float = 30.0
    initial_pause: float = 1.0
    longest_pause: float = 30.0


class ProtocolViolation(Exception):
    """The program wrote a line that is no line of its protocol."""


class RayMembers:
    """The members that Ray keeps: the node agents that run, as a keeper process reports them.

    When the keeper dies, the last known members stay, and it is started again. `environment` is that of the
    gateway; the keeper gets what is public of it, and Ray's own variables. `token` returns the secret of the
    fleet, or an empty text; each keeper that is started gets it.
    """

    def __init__(
        self,
        settings: RaySettings,
        *,
        token: Callable[[], str],
        environment: Mapping[str, str],
        counters: Counters,
        program: Path = PROGRAM,
        limits: KeeperLimits | None = None,
    ) -> None:
        self.known: frozenset[Member] = frozenset()
        self._settings = settings
        self._token = token
        self._command = keeper_command(settings, program)
        self._environment = keeper_environment(environment, own_python=settings.python is None)
        self._counters = counters
        self._limits = limits or KeeperLimits()
        for reason in _REASONS:
            counters.increment(KEEPER_EXITS, reason, times=0)

    async def watch(self, on_change: OnChange) -> None:
        """Call `on_change` with all members, once they are known and after each change, for ever.

        Cancelling this ends the keeper and its process group.
        """
        if self.known:
            on_change(self.known)
        loop = asyncio.get_running_loop()
        backoff = Backoff(self._limits.initial_pause, self._limits.longest_pause)
        while True:
            started = loop.time()
            reason, detail = await self._run_once(on_change)
            if loop.time() - started > _STABLE_SECONDS:
                backoff.reset()
            pause = backoff.next_delay()
            self._counters.increment(KEEPER_EXITS, reason)
            logger.warning(
                "Ray's keeper ended (%s); the %d known node agents stay. Restarting it in %g s. %s",
                reason,
                len(self.known),
                pause,
                detail,
                extra={"event": "ray_keeper_exited", "reason": reason, "delay_seconds": pause},
            )
            await asyncio.sleep(pause)

    async def _run_once(self, on_change: OnChange) -> tuple[ExitReason, str]:
        """Run the program until it ends or has to be ended; return why, and what it logged last."""
        order = keeper_order(self._settings, self._token())
        try:
            process = await _start(self._command, self._environment)
        except OSError as error:
            return "start", str(error.strerror)
        assert process.stdout is not None and process.stderr is not None  # noqa: PT018, S101 - they are pipes
        log = bytearray()
        drain = asyncio.create_task(_keep_tail(process.stderr, log), name="ray keeper's log")
        try:
            await _send(process, order)
            reason = await self._read_lines(process.stdout, on_change)
        finally:
            kill_group(process.pid, collected=process.returncode is not None)
            await process.wait()
            await asyncio.wait([drain], timeout=1.0)  # a process that left the group may hold the pipe
            drain.cancel()
        return reason, redact_urls(log.decode(errors="replace").strip())

    async def _read_lines(self, lines: StreamReader, on_change: OnChange) -> ExitReason:
        try:
            while True:
                async with asyncio.timeout(self._limits.silence):
                    line = await lines.readline()
                if not line:
                    return "exit"
                self._handle(line, on_change)
        except TimeoutError:
            return "silent"
        except (ProtocolViolation, ValueError):  # the reader raises ValueError for a line that is too long
            return "protocol"

    def _handle(self, line: bytes, on_change: OnChange) -> None:
        match _parse(line):
            case {"members": list(found)}:
                self._change(_running(found), on_change)
            case {"warning": str(text)}:
                logger.warning("Ray's keeper: %s", text, extra={"event": "ray_keeper_warning"})
            case {"heartbeat": int() | float()}:
                return
            case _:
                raise ProtocolViolation

    def _change(self, members: frozenset[Member], on_change: OnChange) -> None:
        if members == self.known:
            return
        self.known = members
        extra = {"event": "ray_members_changed", "members": len(members)}
        logger.info("Ray has %d node agents that run", len(members), extra=extra)
        on_change(members)


def keeper_command(settings: RaySettings, program: Path = PROGRAM) -> list[str]:
    """Return the command line of the keeper."""
    return [str(settings.python or sys.executable), str(program)]


def keeper_order(settings: RaySettings, token: str) -> bytes:
    """Return the first line of the keeper's standard input, which has the token."""
    order = {
        "address": settings.address,
        "namespace": settings.namespace,
        "label": settings.label,
        "command": list(settings.command),
        "port": settings.node_port,
        "token": token,
    }
    return json.dumps(order).encode() + b"\n"


def keeper_environment(environment: Mapping[str, str], *, own_python: bool) -> dict[str, str]:
    """Return what of the gateway's environment the keeper gets: no secrets but Ray's, no settings.

    Another interpreter than the gateway's does not get the paths of the gateway's.
    """
    public = public_environment(environment, allowed=["RAY_*"])
    kept = public if own_python else {n: v for n, v in public.items() if not n.startswith("PYTHON")}
    return kept | {"RAY_USAGE_STATS_ENABLED": "0"}


class _ProgramProtocol(SubprocessStreamProtocol):
    """A protocol that ends the rest of the program's group with it: that could hold its pipes open."""

    def __init__(self) -> None:
        super().__init__(limit=_MAX_LINE_BYTES, loop=asyncio.get_running_loop())
        self._pid: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the process id, which the transport forgets when the process has ended."""
        super().connection_made(transport)
        # uvloop's transport of a process is none of asyncio's class.
        self._pid = cast("asyncio.SubprocessTransport", transport).get_pid()

    def process_exited(self) -> None:
        """End the group."""
        super().process_exited()
        if self._pid is not None:
            kill_group(self._pid, collected=True)


async def _start(command: Sequence[str], environment: Mapping[str, str]) -> Process:
    """Start the program in a session of its own; raise OSError if that fails."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.subprocess_exec(
        _ProgramProtocol,
        *command,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=environment,
        cwd="/",
        start_new_session=True,
    )
    return Process(transport, protocol, loop)


async def _send(process: Process, order: bytes) -> None:
    if process.stdin is None:
        raise RuntimeError("The process has no pipes")
    process.stdin.write(order)  # it stays open: the keeper ends when it closes
    with suppress(BrokenPipeError, ConnectionResetError):
        await process.stdin.drain()


async def _keep_tail(stream: StreamReader, log: bytearray) -> None:
    while part := await stream.read(2**16):
        log += part
        del log[:-_MAX_LOG_BYTES]


def _parse(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolViolation from error


def _running(found: Sequence[Any]) -> frozenset[Member]:
    """Return the agents that run; raise ProtocolViolation."""
    members = []
    for each in found:
        match each:
            case {"name": str(name), "address": str(address), "alive": bool(alive)}:
                if alive:
                    members.append(Member(name, address))
            case _:
                raise ProtocolViolation
    return frozenset(members)
