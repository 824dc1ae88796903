"""The fork servers of environments: one for each that has models, and for a while after its last one."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from workers.process.environment_forkserver import EnvironmentForkServer
from workers.process.forkserver_log import EnvironmentLog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor

    from workers.metrics import Counters
    from workers.wall.policy import WallPolicy
    from workers.worker_environment import WorkerEnvironment

IDLE_SECONDS: Final = 60.0
"""Without models for this time, a server ends; its memory is freed earlier if it is needed."""
_THREADS: Final = 2  # that wait for one server, so that one that hangs keeps no thread of others
_CLOSE_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class EnvironmentLease:
    """The use of a fork server by one model, until `release`. `executor` has threads that wait for it."""

    forkserver: EnvironmentForkServer
    executor: Executor
    release: Callable[[], None]


@dataclass(eq=False, slots=True)
class _Entry:
    """A server, and how many models use it. `timer` ends it if none does."""

    server: EnvironmentForkServer
    log: EnvironmentLog
    executor: ThreadPoolExecutor
    users: int = 0
    released_at: float = 0.0
    timer: asyncio.TimerHandle | None = field(default=None)


class EnvironmentServers:
    """The fork servers that run for environments. Used from one event loop."""

    def __init__(
        self,
        variables: Mapping[str, str] | None,
        *,
        wall: WallPolicy,
        fork_timeout_seconds: float,
        load_seconds: Callable[[], float],
        counters: Counters,
        on_change: Callable[[], None],
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        """Set how servers are started: see `EnvironmentForkServer`.

        `on_change` is called whenever a server has no model any more, and when one has ended. A server
        without models ends after `idle_seconds`.
        """
        self._variables = variables
        self._wall = wall
        self._fork_timeout_seconds = fork_timeout_seconds
        self._load_seconds = load_seconds
        self._counters = counters
        self._on_change = on_change
        self._idle_seconds = idle_seconds
        self._entries: dict[WorkerEnvironment, _Entry] = {}
        self._ending: dict[asyncio.Task[None], EnvironmentForkServer] = {}

    @property
    def count(self) -> int:
        """The number of servers, those that are ending included."""
        return len(self._entries) + len(self._ending)

    @property
    def ending(self) -> bool:
        """Whether any server is ending."""
        return bool(self._ending)

    def has(self, environment: WorkerEnvironment) -> bool:
        """Return whether there is a server for an environment."""
        return environment in self._entries

    def servers(self) -> list[EnvironmentForkServer]:
        """Return every server that may have processes."""
        return [*(entry.server for entry in self._entries.values()), *self._ending.values()]

    def users(self) -> dict[WorkerEnvironment, int]:
        """Return how many models use each environment's server."""
        return {environment: entry.users for environment, entry in self._entries.items()}

    def lease(self, environment: WorkerEnvironment) -> EnvironmentLease:
        """Return the use of an environment's server; it is created if there is none."""
        entry = self._entries.get(environment)
        if entry is None:
            entry = self._entries[environment] = self._new_entry(environment)
        entry.users += 1
        if entry.timer is not None:
            entry.timer.cancel()
        used = [entry]

        def release() -> None:
            if used:
                self._release(environment, used.pop())

        return EnvironmentLease(entry.server, entry.executor, release)

    def end_least_recently_used(self) -> asyncio.Task[None] | None:
        """End the server that has had no model for the longest time; return the task that waits for it."""
        idle = {environment: entry for environment, entry in self._entries.items() if not entry.users}
        if not idle:
            return None
        return self._end(min(idle, key=lambda environment: idle[environment].released_at))

    async def close(self) -> None:
        """End all servers, and wait until they have ended."""
        for environment in list(self._entries):
            self._end(environment)
        if self._ending:
            _, late = await asyncio.wait(self._ending, timeout=_CLOSE_SECONDS)
            for task in late:
                self._ending[task].kill()
            if late:
                await asyncio.wait(late)

    def kill_starting(self) -> None:
        """Kill the servers that are not ready: loads that wait for these would end late."""
        for entry in self._entries.values():
            if not entry.server.is_ready:
                entry.server.kill()

    def _new_entry(self, environment: WorkerEnvironment) -> _Entry:
        log = EnvironmentLog(environment, self._counters)
        server = EnvironmentForkServer(
            environment,
            self._variables,
            wall=self._wall,
            fork_timeout_seconds=self._fork_timeout_seconds,
            load_seconds=self._load_seconds,
            on_output=log.on_output,
        )
        server.events = log
        return _Entry(server, log, ThreadPoolExecutor(_THREADS, thread_name_prefix="environment-start"))

    def _release(self, environment: WorkerEnvironment, entry: _Entry) -> None:
        entry.users -= 1
        if entry.users or self._entries.get(environment) is not entry:
            return
        loop = asyncio.get_running_loop()
        entry.released_at = loop.time()
        if entry.server.pid is None:  # it has ended: nothing is gained by keeping it
            self._end(environment)
        else:
            entry.timer = loop.call_later(self._idle_seconds, self._end, environment)
        self._on_change()

    def _end(self, environment: WorkerEnvironment) -> asyncio.Task[None]:
        entry = self._entries.pop(environment)
        if entry.timer is not None:
            entry.timer.cancel()
        task = asyncio.create_task(_close(entry), name="end fork server of an environment")
        self._ending[task] = entry.server
        task.add_done_callback(self._on_ended)
        return task

    def _on_ended(self, task: asyncio.Task[None]) -> None:
        del self._ending[task]
        self._on_change()
        if not task.cancelled() and (error := task.exception()) is not None:
            context = {"message": "Failed to end a fork server cleanly", "exception": error, "task": task}
            asyncio.get_running_loop().call_exception_handler(context)


async def _close(entry: _Entry) -> None:
    entry.executor.shutdown(wait=False, cancel_futures=True)
    try:
        await asyncio.to_thread(entry.server.close)
    finally:
        entry.log.close()
