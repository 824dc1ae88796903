"""Every way in which a channel can end: each callback is called once, whatever the worker did or sent."""

from __future__ import annotations

import asyncio
import struct
from math import inf, nan
from typing import TYPE_CHECKING

import pytest

from tests.support.sockets import bodies_of, channel_pair, echo, on_each_loop, reply_frame
from workers.errors import WorkerCrashed
from workers.protocol import framing
from workers.protocol.bounds import MAX_ENTRIES
from workers.protocol.messages import Job, NextChunk

if TYPE_CHECKING:
    from workers.process.channel import BatchOutcome
    from workers.protocol.messages import WorkerReply, WorkerRequest

UNKNOWN_KIND = struct.pack("<BBBqdQI", 9, 0, 0, -1, 0.0, 0, 0)
INVALID_FRAMES = {
    "noise": b"\xff" * framing.HEADER.size,
    "too many entries": framing.HEADER.pack(MAX_ENTRIES + 1, 0, 0.0),
    "too large": framing.HEADER.pack(1, 2**31 + 1, 0.0),
    "huge": framing.HEADER.pack(2**32 - 1, 2**64 - 1, 0.0),
    "NaN seconds": framing.HEADER.pack(0, 0, nan),
    "infinite seconds": framing.HEADER.pack(0, 0, inf),
    "negative seconds": framing.HEADER.pack(0, 0, -1.0),
    "unknown kind": framing.HEADER.pack(1, 0, 0.0) + UNKNOWN_KIND,
    "surplus bytes": framing.HEADER.pack(0, 1, 0.0) + b"x",
    "text": b"Traceback (most recent call last):\n",
}


@on_each_loop
async def test_an_invalid_frame_ends_the_channel() -> None:
    """Replies before it are delivered, later batches get WorkerCrashed, and `on_lost` is called once."""
    for name, invalid in INVALID_FRAMES.items():
        async with channel_pair() as pair:
            pending = [pair.submit() for _ in range(3)]
            await pair.send(reply_frame(b"a"), invalid, reply_frame(b"b"), reply_frame(b"c"))
            outcomes = await asyncio.gather(*pending)
            assert bodies_of(outcomes[0]) == [b"a"], name
            assert all(isinstance(outcome, WorkerCrashed) for outcome in outcomes[1:]), name
            pair.channel.abort()
            assert isinstance(await pair.submit(), WorkerCrashed), name
            assert pair.lost_count == 1, name


@on_each_loop
async def test_a_reply_without_a_request_ends_the_channel() -> None:
    """A worker cannot store a reply for the next request."""
    async with channel_pair() as pair:
        outcome = pair.submit()
        await pair.send(reply_frame(b"a"), reply_frame(b"forged"))
        assert bodies_of(await outcome) == [b"a"]
        await pair.lost.wait()
        assert isinstance(await pair.submit(), WorkerCrashed)
        assert pair.lost_count == 1


@on_each_loop
async def test_the_worker_closes_its_end() -> None:
    """Whole replies are delivered, half a reply is not, and `on_lost` is called once."""
    async with channel_pair() as pair:
        pending = [pair.submit() for _ in range(3)]
        await pair.send(reply_frame(b"a"), reply_frame(b"b")[:-1])
        pair.worker_socket.close()
        outcomes = await asyncio.gather(*pending)
        assert bodies_of(outcomes[0]) == [b"a"]
        assert all(isinstance(outcome, WorkerCrashed) for outcome in outcomes[1:])
        await pair.lost.wait()
        pair.channel.abort()
        assert pair.lost_count == 1


@on_each_loop
async def test_a_batch_on_a_lost_channel_fails_later() -> None:
    """Its callback is called once, but never before `send` or `expect_reply` returns."""
    async with channel_pair() as pair:
        pair.channel.abort()
        assert pair.lost_count == 1
        pending = [pair.submit(), pair.expect()]
        assert not any(outcome.done() for outcome in pending)
        assert [type(outcome) for outcome in await asyncio.gather(*pending)] == [WorkerCrashed, WorkerCrashed]
        assert pair.lost_count == 1


@on_each_loop
async def test_close_lets_the_worker_return() -> None:
    """The worker's `run` returns, `on_lost` is not called, and a later batch gets WorkerCrashed."""
    async with channel_pair() as pair:
        run = pair.serve(echo)
        assert bodies_of(await pair.submit(Job(b"a"))) == [b"a"]
        pair.channel.close()
        outcome = pair.submit()
        await run
        assert isinstance(await outcome, WorkerCrashed)
        assert pair.lost_count == 0


@on_each_loop
async def test_close_fails_what_waits_for_a_reply() -> None:
    """The worker still gets all bytes that were sent before, but its reply is not waited for."""
    async with channel_pair() as pair:
        requests: list[WorkerRequest] = [Job(bytes(4 * 2**20)), NextChunk(7)]
        outcome = pair.submit(*requests)
        pair.channel.close()
        received = b""
        while more := await asyncio.get_running_loop().sock_recv(pair.worker_socket, 2**20):
            received += more
        assert received == b"".join(framing.encode_requests(requests))
        assert isinstance(await outcome, WorkerCrashed)
        assert pair.lost_count == 0


@on_each_loop
async def test_a_callback_that_raises_at_the_end_affects_no_other() -> None:
    """The other callbacks are called, and so is `on_lost`."""
    async with channel_pair(expect_errors=True) as pair:
        pair.channel.send([Job(b"{}")], _raise)
        outcome = pair.submit()
        pair.worker_socket.close()
        assert isinstance(await outcome, WorkerCrashed)
        await pair.lost.wait()
        assert [str(error) for error in pair.errors] == ["trouble"]
        assert pair.lost_count == 1


@on_each_loop
async def test_a_handler_that_raises_ends_the_channel() -> None:
    """No callback waits for a reply that never comes, even if the worker's process lives on."""
    async with channel_pair() as pair:
        pending = [pair.submit(), pair.submit()]
        run = pair.serve(_failing)
        assert all(isinstance(outcome, WorkerCrashed) for outcome in await asyncio.gather(*pending))
        assert pair.lost_count == 1
        with pytest.raises(ZeroDivisionError):
            await run


def _failing(_: tuple[WorkerRequest, ...]) -> tuple[tuple[WorkerReply, ...], float]:
    raise ZeroDivisionError


def _raise(_: BatchOutcome) -> None:
    raise ValueError("trouble")
