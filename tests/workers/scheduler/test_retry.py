"""Proves that a job is blamed for no death but that of a process that had begun with it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.workers.stateful.show import show
from workers.errors import WorkerCrashed
from workers.protocol.messages import Job, Reply

if TYPE_CHECKING:
    from tests.workers.stateful.show import Show

__all__ = ["show"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a socket does not tell what was not read")
@pytest.mark.parametrize("given", ["before", "after"])
def test_what_was_given_to_idle_workers_that_died(show: Show, given: str) -> None:
    """However often its batch meets a dead end, a job that no process has read is answered."""
    if given == "after":
        show.loop.do(show.stage.alive[0].die)  # nobody has noticed yet
    asked = show.loop.create_task(show.crew.predict(Job(b"{}")))
    for _ in range(3):
        show.loop.turn(2)
        for process in show.stage.alive:
            show.loop.do(process.die)
        show.loop.wait(0.02)
        assert not asked.done()
        while not show.stage.alive:
            show.loop.wait(0.1)
        show.loop.wait(0.06)
    (process,) = show.stage.alive
    assert process.take() == (Job(b"{}"),)
    process.answer([Reply(b"answer", 0.1)], 0.1)
    show.loop.turn(3)
    assert asked.result().body == b"answer"


def test_what_two_workers_died_of(show: Show) -> None:
    """It is tried once more, and then it is told so."""
    asked = show.loop.create_task(show.crew.predict(Job(b"{}")))
    for _ in range(2):
        assert not asked.done()
        show.loop.wait(1.0)
        (process,) = show.stage.alive
        assert process.take() == (Job(b"{}"),)
        show.loop.do(process.die)
        show.loop.wait(0.02)
    assert isinstance(asked.exception(), WorkerCrashed)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a socket does not tell what was not read")
def test_what_ends_whoever_is_given_it(show: Show) -> None:
    """A job of which no worker lives to read the end is not tried without end: it is told so after a few."""
    asked = show.loop.create_task(show.crew.predict(Job(b"{}")))
    deaths = 0
    while not asked.done():
        show.loop.turn(2)
        for process in show.stage.alive:
            show.loop.do(process.die)
            deaths += 1
        show.loop.wait(1.0)
    assert isinstance(asked.exception(), WorkerCrashed)
    assert 2 <= deaths <= 10


def test_what_two_workers_died_of_in_company_and_alone(show: Show) -> None:
    """Nobody knows which job of a batch it was: only who ran alone as two workers died is told so."""
    show.loop.create_task(show.crew.predict(Job(b"{0}")))
    show.loop.turn(3)
    (process,) = show.stage.alive
    assert process.take() == (Job(b"{0}"),)
    process.answer([Reply(b"answer", 0.001)], 0.001)  # so fast that the next ones share a batch
    show.loop.turn(3)
    asked = [show.loop.create_task(show.crew.predict(Job(body))) for body in (b"{1}", b"{2}")]
    show.loop.turn(3)
    assert process.take() == (Job(b"{1}"), Job(b"{2}"))
    show.loop.do(process.die)
    deaths = 0
    for _ in range(3):
        show.loop.wait(1.0)
        (process,) = show.stage.alive
        if process.take() == (Job(b"{1}"),):
            assert not asked[0].done(), f"told after {deaths} deaths alone"
            show.loop.do(process.die)
            deaths += 1
        else:
            process.answer([Reply(b"answer", 0.1)], 0.1)
    show.loop.wait(1.0)
    assert deaths == 2
    assert isinstance(asked[0].exception(), WorkerCrashed)
    assert asked[1].result().body == b"answer"
