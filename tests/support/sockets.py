"""A channel over a real pair of sockets, and its other end in the hands of a test, on each kind of loop."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
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

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
SECONDS = 20.0  # for what takes a moment


def on_each_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that runs on the loop of the product, and on asyncio's own where the product has no other."""

    @pytest.mark.parametrize("kind", LOOPS)
    def run(kind: str) -> None:
        with asyncio.Runner(loop_factory=LOOPS[kind]) as runner:
            runner.run(asyncio.wait_for(test(), SECONDS))

    run.__doc__ = test.__doc__
    return run


@dataclass
class Line:
    """The channel, the worker's end of its socket, how often it was cut, and what its askers raised."""

    channel: Channel
    far: socket.socket
    cuts: int = 0
    raised: list[BaseException] = field(default_factory=list)
    cut: asyncio.Event = field(default_factory=asyncio.Event)

    def asked(self, *asks: WorkerRequest) -> asyncio.Future[BatchOutcome]:
        """What an asker hears; it would raise if it heard twice."""
        heard: asyncio.Future[BatchOutcome] = asyncio.get_running_loop().create_future()
        self.channel.send(asks or (Job(b"{}"),), heard.set_result)
        return heard

    async def send(self, *parts: bytes) -> None:
        """Send bytes as the worker would."""
        await asyncio.get_running_loop().sock_sendall(self.far, b"".join(parts))

    def serve(
        self, answer: Callable[[tuple[WorkerRequest, ...]], tuple[tuple[WorkerReply, ...], float]]
    ) -> Any:
        """Have a real service answer, in a thread; the future of its run."""
        self.far.setblocking(True)
        return asyncio.get_running_loop().run_in_executor(None, WorkerConnection(self.far).run, answer)


@asynccontextmanager
async def line(*, raises: bool = False) -> AsyncIterator[Line]:
    """A channel that is ready; in the end nobody has heard twice, nor raised unless one `raises`."""
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    with far:
        far.setblocking(False)
        made: list[Line] = []
        channel = await Channel.connect(near, on_lost=lambda: _count(made[0]))
        made.append(Line(channel, far))
        loop.set_exception_handler(partial(_note, made[0]))
        try:
            yield made[0]
        finally:
            channel.close()
            channel.abort()
            await asyncio.sleep(0)
    if not raises:
        assert made[0].raised == []


def replies(*bodies: bytes, seconds: float = 0.5) -> bytes:
    """A frame of one reply for each body."""
    return b"".join(framing.encode_replies([Reply(body, 0.25) for body in bodies], seconds))


def echo(asks: tuple[WorkerRequest, ...]) -> tuple[tuple[WorkerReply, ...], float]:
    """Every job's body, and no chunk for what concerns streams."""
    return tuple(Reply(ask.body, 0.0) if isinstance(ask, Job) else Chunk(None) for ask in asks), 0.5


def bodies_of(heard: BatchOutcome) -> list[bytes]:
    """What the replies hold."""
    assert not isinstance(heard, WorkerCrashed)
    return [answer.body for answer in heard[0] if isinstance(answer, Reply)]


def _count(made: Line) -> None:
    made.cuts += 1
    made.cut.set()


def _note(made: Line, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    made.raised.append(context.get("exception") or RuntimeError(context["message"]))
