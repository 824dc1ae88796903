"""The threads that wait for the fork server of the gateway's own environment, and the end of both."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from workers.process.forkserver import ForkServer

_PROBE_TIMEOUT_SECONDS: Final = 60.0  # for a process that does nothing to start and to end
_SHUTDOWN_SECONDS: Final = 10.0  # for the starts that run when the pool closes, and the fork server
_THREADS: Final = 4


class WorkerStarts:
    """The starts of workers by one fork server, which block a thread of `executor` each."""

    def __init__(self, forkserver: ForkServer) -> None:
        self._forkserver = forkserver
        self.executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="worker-start")

    async def probe(self) -> None:
        """Start and end a process that does nothing, and record the outcome in the fork server's health."""
        probe = asyncio.get_running_loop().run_in_executor(self.executor, self._forkserver.probe_spawn)
        try:
            await self._wait_or_kill(probe, _PROBE_TIMEOUT_SECONDS)
        except (OSError, EOFError):
            self._forkserver.spawn_health.record(succeeded=False)
        else:
            self._forkserver.spawn_health.record(succeeded=True)

    async def close(self) -> None:
        """End the fork server when the starts that run have ended, or after a while."""
        shutdown = asyncio.create_task(asyncio.to_thread(self._end))
        await asyncio.wait([shutdown], timeout=_SHUTDOWN_SECONDS)
        self._forkserver.refuse_starts()  # one that still waits would begin another fork server
        await self._wait_or_kill(shutdown, 0)

    def _end(self) -> None:
        self.executor.shutdown(cancel_futures=True)
        self._forkserver.close()

    async def _wait_or_kill(self, work: asyncio.Future[None], seconds: float) -> None:
        """Wait for work that depends on the fork server; kill the fork server if that takes too long."""
        done, _ = await asyncio.wait([work], timeout=seconds)
        if not done:
            self._forkserver.kill()
        await work
