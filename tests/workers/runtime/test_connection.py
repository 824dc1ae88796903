"""The worker's end of its socket: it reads whole batches however they come, and ends with the gateway."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.frames import split
from tests.support.sockets import echo
from workers.protocol import framing
from workers.protocol.messages import Failure, Job, LoadReport, Reply
from workers.runtime.connection import WorkerConnection

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from workers.protocol.messages import WorkerReply, WorkerRequest

    Pair = tuple[socket.socket, socket.socket]

BATCHES: list[list[WorkerRequest]] = [[Job(b"one"), Job(b"")], [Job(b"two" * 100)]]
FRAMES = [b"".join(framing.encode_requests(asks)) for asks in BATCHES]
ANSWERS = b"".join(b"".join(framing.encode_replies(*echo(tuple(asks)))) for asks in BATCHES)


class Interrupted(socket.socket):
    """A socket whose every call a signal interrupts after a few bytes."""

    def recv(self, size: int, flags: int = 0) -> bytes:
        return super().recv(min(size, 7), flags)

    def sendmsg(self, parts: Iterable[bytes], *_: Any) -> int:  # type: ignore[override] # so it is called
        return super().sendmsg([b"".join(parts)[:7]])


@pytest.fixture
def pair() -> Iterator[Pair]:
    """The gateway's end and the worker's."""
    near, far = socket.socketpair()
    near.settimeout(10)
    far.settimeout(10)
    with near, far:
        yield near, far


def seen(far: socket.socket) -> list[tuple[WorkerRequest, ...]]:
    """The batches that a service is asked to answer until its run returns."""
    batches: list[tuple[WorkerRequest, ...]] = []

    def answer(asks: tuple[WorkerRequest, ...]) -> tuple[tuple[WorkerReply, ...], float]:
        batches.append(asks)
        return echo(asks)

    WorkerConnection(far).run(answer)
    return batches


def answered(near: socket.socket) -> bytes:
    """All that the worker sent; it has closed its end."""
    return b"".join(iter(lambda: near.recv(65536), b""))


def test_it_answers_until_the_gateway_sends_no_more(pair: Pair) -> None:
    """Batch after batch in order; then its run returns, and the gateway finds the end of the answers."""
    near, far = pair
    near.sendall(b"".join(FRAMES))
    near.shutdown(socket.SHUT_WR)
    assert seen(far) == [tuple(asks) for asks in BATCHES]
    assert answered(near) == ANSWERS


def test_a_signal_may_come_between_any_bytes(pair: Pair) -> None:
    """What brings or takes less than was asked for is followed by another call."""
    near, far = pair
    near.sendall(b"".join(FRAMES))
    near.shutdown(socket.SHUT_WR)
    assert seen(Interrupted(fileno=far.detach())) == [tuple(asks) for asks in BATCHES]
    assert answered(near) == ANSWERS


def test_half_a_batch_is_none() -> None:
    """Wherever the gateway ends within a batch, those before it are answered, and the run returns."""
    for at in range(len(FRAMES[0])):
        near, far = socket.socketpair()
        with near, far:
            near.sendall(FRAMES[1] + FRAMES[0][:at])
            near.shutdown(socket.SHUT_WR)
            assert seen(far) == [tuple(BATCHES[1])]


def test_the_run_returns_where_nobody_hears_the_answer(pair: Pair) -> None:
    """A gateway that closed, with or without answers that it has not read, has no more batches."""
    near, far = pair
    near.sendall(FRAMES[0])
    near.close()
    assert seen(far) == [tuple(BATCHES[0])]


def test_a_gateway_that_left_an_answer_unread_is_gone(pair: Pair) -> None:
    """The kernel tells of it in other words than of an end in order; it is one."""
    near, far = pair
    WorkerConnection(far).send([LoadReport(1.0)], 0.0)
    near.close()
    assert seen(far) == []


def test_a_failure_of_its_own_is_told_by_the_end(pair: Pair) -> None:
    """What `answer` raises comes through, and the gateway does not wait for the answer that never comes."""
    near, far = pair
    near.sendall(FRAMES[0])

    def failing(_: tuple[WorkerRequest, ...]) -> tuple[tuple[WorkerReply, ...], float]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        WorkerConnection(far).run(failing)
    assert answered(near) == b""


def test_the_answers_may_be_many(pair: Pair) -> None:
    """More parts than one call to the kernel takes are sent nonetheless."""
    near, far = pair
    sent = tuple(Reply(b"%d" % at, 0.0) for at in range(1000))
    WorkerConnection(far).send(sent, 0.0)
    far.close()
    _, entries, bodies = split([answered(near)], of_asks=False)
    assert framing.decode_replies(entries, bodies) == sent


def test_an_answer_that_is_too_large_is_refused_in_the_worker(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway would cut the worker off for it; those beside it are answered."""
    near, far = pair
    monkeypatch.setattr(framing, "MOST_BYTES", 100)
    WorkerConnection(far).send([Reply(b"x" * 90, 0.5), Reply(b"y" * 40, 0.5)], 1.0)
    far.shutdown(socket.SHUT_WR)
    _, entries, bodies = split([answered(near)], of_asks=False)
    refused, small = framing.decode_replies(entries, bodies)
    assert isinstance(refused, Failure)
    assert refused.kind == "answer"
    assert small == Reply(b"y" * 40, 0.5)
