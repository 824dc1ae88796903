"""The gateway's handle on one worker process: send batches, notice its exit, end it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from workers.errors import WorkerCrashed
from workers.process.channel import Channel
from workers.process.watcher import ProcessWatcher
from workers.protocol.messages import LoadReport

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from workers.answer_memory import AnswerLimits
    from workers.process.channel import ReplyCallback
    from workers.protocol.messages import WorkerRequest

SETTLE_SECONDS: Final = 0.05
"""Between a process' end and the end of its sockets and pipes, which may come first or hold replies still."""
_EXIT_TIMEOUT_SECONDS: Final = 5.0  # for an idle process to end by itself


class ProcessWorker:
    """A handle on one process that holds one model version.

    Batches travel over a socket that only this worker uses. How the process was started does not matter
    here: see `workers.process.launcher`.
    """

    def __init__(
        self,
        *,
        on_exit: Callable[[ProcessWorker], None],
        release: Callable[[], None],
    ) -> None:
        """Use the running loop. The process is given to `watcher` once it is started.

        `on_exit` is called once, when the process ends. `release` is called once after that, to free what
        the start of the process took.
        """
        self._loop = asyncio.get_running_loop()
        self._on_exit = on_exit
        self._release = release
        self.watcher = ProcessWatcher(on_exit=self._handle_exit)
        self._channel: Channel | None = None
        self._released = False
        self.load_report = LoadReport(0.0)

    async def connect(self, sock: socket.socket, on_load_report: ReplyCallback) -> None:
        """Own `sock`, the gateway's end; `on_load_report` is called with what the process sends first."""
        self._channel = await Channel.connect(sock, on_lost=self.watcher.kill)
        self._channel.expect_reply(on_load_report)

    @property
    def pid(self) -> int:
        """The process' id; 0 until it is forked."""
        return self.watcher.pid or 0

    @property
    def dead(self) -> bool:
        """Whether the process is known to have ended."""
        return self.watcher.dead.is_set()

    @property
    def connected(self) -> bool:
        """Whether a batch can be sent. The socket may have ended before the process' end is known."""
        return self._channel is not None and self._channel.connected

    @property
    def violation(self) -> str:
        """What the process sent that it may not, if it was ended for that; else empty."""
        return self._channel.violation if self._channel is not None else ""

    @property
    def paused(self) -> bool:
        """Whether the process replies, but the gateway has no memory to receive that."""
        return self._channel is not None and self._channel.paused

    def limit_answers(self, limits: AnswerLimits) -> None:
        """Apply limits to the answers to all further batches."""
        if self._channel is not None:
            self._channel.answers = limits

    def send_batch(self, requests: Sequence[WorkerRequest], on_reply: ReplyCallback) -> None:
        """Send a batch to the process; `on_reply` is called once, later.

        It gets one reply for each request, in order, and the seconds that the process took for all of
        them; or WorkerCrashed if the process ends before it replies.
        """
        if self._channel is None:
            self._loop.call_soon(on_reply, WorkerCrashed("The worker's process ended."))
        else:
            self._channel.send(requests, on_reply)

    async def kill(self) -> None:
        """Kill the process, whatever it does, and wait until it has ended."""
        self.watcher.kill()
        await self.watcher.dead.wait()
        self._release_resources()

    async def close(self) -> None:
        """Let the process end by itself, and kill it if it does not in time."""
        if self._channel is not None:
            self._channel.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_TIMEOUT_SECONDS):
                await self.watcher.dead.wait()
        await self.kill()

    def _handle_exit(self) -> None:
        # Replies that were sent in time are in the socket still. Its end is not waited for: a process that
        # the model started may keep the socket open.
        self._loop.call_later(SETTLE_SECONDS, self._release_resources)
        self._on_exit(self)

    def _release_resources(self) -> None:
        """Free everything of a process that has ended; its pipes would stay open until collected."""
        if self._channel is not None:
            self._channel.abort()
        if not self._released:
            self._released = True
            self._release()
