"""A channel over a real socket pair whose worker's end a test holds, on each kind of event loop."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from workers.errors import WorkerCrashed
from workers.process.channel import Channel
from workers.protocol import framing
from workers.protocol.messages import Chunk, Job, Reply
from workers.runtime.connection import WorkerConnection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from workers.process.channel import BatchOutcome
    from workers.protocol.messages import WorkerReply, WorkerRequest

    Handler = Callable[[tuple[WorkerRequest, ...]], tuple[tuple[WorkerReply, ...], float]]

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
TIMEOUT_SECONDS = 60.0


def on_each_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run the test on uvloop, which the gateway uses, and on asyncio's loop, its substitute elsewhere."""

    @pytest.mark.parametrize("loop", LOOPS)
    def run(loop: str) -> None:
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(asyncio.wait_for(test(), TIMEOUT_SECONDS))

    run.__doc__ = test.__doc__
    return run


@dataclass
class ChannelPair:
    """A channel, the worker's end of its socket, and what happened on the channel.

    `lost` is set when the channel calls `on_lost`, and `lost_count` counts the calls. `errors` are the
    exceptions of callbacks, which the loop's handler gets.
    """

    channel: Channel
    worker_socket: socket.socket
    lost: asyncio.Event
    lost_count: int = 0
    errors: list[BaseException] = field(default_factory=list)

    def submit(self, *requests: WorkerRequest) -> asyncio.Future[BatchOutcome]:
        """Send a batch and return its outcome. A second call of the callback would be an error."""
        outcome: asyncio.Future[BatchOutcome] = asyncio.get_running_loop().create_future()
        self.channel.send(requests or (Job(b"{}"),), outcome.set_result)
        return outcome

    def expect(self) -> asyncio.Future[BatchOutcome]:
        """Return the outcome of a frame that the worker sends unasked."""
        outcome: asyncio.Future[BatchOutcome] = asyncio.get_running_loop().create_future()
        self.channel.expect_reply(outcome.set_result)
        return outcome

    async def send(self, *parts: bytes) -> None:
        """Send bytes as the worker would."""
        await asyncio.get_running_loop().sock_sendall(self.worker_socket, b"".join(parts))

    def serve(self, handler: Handler) -> asyncio.Future[None]:
        """Run a real worker connection in a thread; the future is done when it returns."""
        self.worker_socket.setblocking(True)
        run = WorkerConnection(self.worker_socket).run
        return asyncio.get_running_loop().run_in_executor(None, run, handler)

    def feed(self, data: bytes) -> None:
        """Give the channel bytes as its loop would, at once."""
        rest = memoryview(data)
        while rest:
            space = self.channel.get_buffer(-1)
            size = min(len(space), len(rest))
            space[:size] = rest[:size]
            self.channel.buffer_updated(size)
            rest = rest[size:]

    def on_lost(self) -> None:
        """Count a call of the channel's `on_lost`."""
        self.lost_count += 1
        self.lost.set()

    def on_error(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Keep an exception that the loop's handler gets."""
        self.errors.append(context.get("exception") or RuntimeError(context["message"]))


@asynccontextmanager
async def channel_pair(*, expect_errors: bool = False) -> AsyncIterator[ChannelPair]:
    """Yield a connected channel; fail at the end if a callback raised, unless `expect_errors`."""
    near, far = socket.socketpair()
    with far:
        far.setblocking(False)
        channel = await Channel.connect(near, on_lost=lambda: pair.on_lost())  # noqa: PLW0108 - bound below
        pair = ChannelPair(channel, far, asyncio.Event())
        asyncio.get_running_loop().set_exception_handler(pair.on_error)
        try:
            yield pair
        finally:
            channel.close()
            channel.abort()
            await asyncio.sleep(0)
    if not expect_errors:
        assert pair.errors == []


def reply_frame(*bodies: bytes, seconds: float = 0.5) -> bytes:
    """Return a frame with one reply for each body."""
    return b"".join(framing.encode_replies([Reply(body, 0.25) for body in bodies], seconds))


def echo(requests: tuple[WorkerRequest, ...]) -> tuple[tuple[WorkerReply, ...], float]:
    """Reply with every job's body, and with an empty chunk to stream requests."""
    return tuple(Reply(each.body, 0.0) if isinstance(each, Job) else Chunk(None) for each in requests), 0.5


def bodies_of(outcome: BatchOutcome) -> list[bytes]:
    """Return the bodies of the replies; large ones are read."""
    assert not isinstance(outcome, WorkerCrashed)
    return [b"".join(reply.large or [reply.body]) for reply in outcome[0] if isinstance(reply, Reply)]
