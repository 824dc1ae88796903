"""The worker's connection reads whole batches however the bytes come, and ends with the gateway."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.frames import split
from tests.support.sockets import echo
from workers.protocol import framing
from workers.protocol.messages import Chunk, Failure, Job, LoadReport, Reply
from workers.runtime.connection import WorkerConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from workers.protocol.messages import WorkerReply, WorkerRequest

    Pair = tuple[socket.socket, socket.socket]

BATCHES: list[list[WorkerRequest]] = [[Job(b"one"), Job(b"")], [Job(b"two" * 100)]]
FRAMES = [b"".join(framing.encode_requests(batch)) for batch in BATCHES]
REPLY_FRAMES = b"".join(b"".join(framing.encode_replies(*echo(tuple(batch)))) for batch in BATCHES)


class InterruptedSocket(socket.socket):
    """A socket whose every call a signal interrupts after a few bytes."""

    def recv(self, size: int, flags: int = 0) -> bytes:
        return super().recv(min(size, 7), flags)

    def sendmsg(self, parts: Iterable[bytes], *_: Any) -> int:  # type: ignore[override] # so it is called
        return super().sendmsg([b"".join(parts)[:7]])


@pytest.fixture
def pair() -> Iterator[Pair]:
    """The gateway's end and the worker's."""
    near, far = socket.socketpair()
    near.settimeout(60)
    far.settimeout(60)
    with near, far:
        yield near, far


def handled_batches(far: socket.socket) -> list[tuple[WorkerRequest, ...]]:
    """Run a connection that echoes, and return the batches that it got when it has ended."""
    batches: list[tuple[WorkerRequest, ...]] = []

    def handler(requests: tuple[WorkerRequest, ...]) -> tuple[tuple[WorkerReply, ...], float]:
        batches.append(requests)
        return echo(requests)

    WorkerConnection(far).run(handler)
    return batches


def received(near: socket.socket) -> bytes:
    """Return all that the worker sent, up to the end of its socket."""
    return b"".join(iter(lambda: near.recv(65536), b""))


def test_it_replies_until_the_gateway_closes(pair: Pair) -> None:
    """Batch after batch in order; then `run` returns, and the gateway reads the end of the replies."""
    near, far = pair
    near.sendall(b"".join(FRAMES))
    near.shutdown(socket.SHUT_WR)
    assert handled_batches(far) == [tuple(batch) for batch in BATCHES]
    assert received(near) == REPLY_FRAMES


def test_a_signal_may_interrupt_any_call(pair: Pair) -> None:
    """A call that transfers fewer bytes than it should is followed by another."""
    near, far = pair
    near.sendall(b"".join(FRAMES))
    near.shutdown(socket.SHUT_WR)
    assert handled_batches(InterruptedSocket(fileno=far.detach())) == [tuple(batch) for batch in BATCHES]
    assert received(near) == REPLY_FRAMES


def test_a_partial_batch_is_ignored() -> None:
    """If the gateway closes within a batch, the batches before are handled and `run` returns."""
    for length in range(len(FRAMES[0])):
        near, far = socket.socketpair()
        with near, far:
            near.sendall(FRAMES[1] + FRAMES[0][:length])
            near.shutdown(socket.SHUT_WR)
            assert handled_batches(far) == [tuple(BATCHES[1])]


def test_the_gateway_is_gone_before_the_reply(pair: Pair) -> None:
    """`run` returns without an error, since the gateway has no more batches."""
    near, far = pair
    near.sendall(FRAMES[0])
    near.close()
    assert handled_batches(far) == [tuple(BATCHES[0])]


def test_the_gateway_left_a_reply_unread(pair: Pair) -> None:
    """The kernel reports another error than for an orderly end; `run` returns all the same."""
    near, far = pair
    WorkerConnection(far).send([LoadReport(1.0)], 0.0)
    near.close()
    assert handled_batches(far) == []


def test_a_handler_that_raises_closes_the_socket(pair: Pair) -> None:
    """The exception is not caught, and the gateway does not wait for a reply that never comes."""
    near, far = pair
    near.sendall(FRAMES[0])

    def failing(_: tuple[WorkerRequest, ...]) -> tuple[tuple[WorkerReply, ...], float]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        WorkerConnection(far).run(failing)
    assert received(near) == b""


def test_many_replies_in_one_batch(pair: Pair) -> None:
    """More parts than the kernel takes in one call are sent."""
    near, far = pair
    replies = tuple(Reply(b"%d" % number, 0.0) for number in range(1000))
    WorkerConnection(far).send(replies, 0.0)
    far.close()
    _, entries, bodies = split([received(near)], of_requests=False)
    assert framing.decode_replies(entries, bodies) == replies


def test_a_large_frame_is_sent_in_pieces(pair: Pair) -> None:
    """More parts than the kernel takes in one call, and more bytes than are worth a copy."""
    near, far = pair
    replies = tuple(Reply(b"%04d" % number * 500, 0.0) for number in range(1000))
    frames: list[bytes] = []
    reader = threading.Thread(target=lambda: frames.append(received(near)))
    reader.start()
    WorkerConnection(far).send(replies, 0.0)
    far.shutdown(socket.SHUT_WR)
    reader.join()
    _, entries, bodies = split(frames, of_requests=False)
    assert framing.decode_replies(entries, bodies) == replies


@pytest.mark.parametrize("make_large", [lambda: Reply(b"x" * 90, 0.5), lambda: Chunk(b"x" * 90, 0.5)])
def test_a_reply_that_is_too_large_becomes_a_failure(
    pair: Pair, make_large: Callable[[], WorkerReply]
) -> None:
    """The gateway would close the connection because of it; the other replies of the batch are sent."""
    near, far = pair
    near.sendall(b"".join(framing.encode_requests([Job(b""), Job(b"")], 80)))
    near.shutdown(socket.SHUT_WR)
    WorkerConnection(far).run(lambda _: ((make_large(), Reply(b"y" * 40, 0.5)), 1.0))
    _, entries, bodies = split([received(near)], of_requests=False)
    large, small = framing.decode_replies(entries, bodies)
    assert isinstance(large, Failure)
    assert large.kind == "answer"
    assert small == Reply(b"y" * 40, 0.5)
