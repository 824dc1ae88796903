"""Proves for how long a failed load is remembered, and what is kept of it."""

from __future__ import annotations

import gc
import weakref

from tests.workers.conftest import key
from workers.errors import ModelLoadError
from workers.pool.load_backoff import LoadBackoff


class Worker:
    """Stands for an object that an error's traceback refers to."""


def fail_to_start(workers: list[weakref.ref[Worker]]) -> None:
    worker = Worker()
    workers.append(weakref.ref(worker))
    raise ModelLoadError("the reason", log="the trace") from EOFError()


async def test_only_the_texts_of_an_error_are_kept() -> None:
    """A remembered failure must not keep the worker and its open pipes alive."""
    backoff, workers = LoadBackoff(), list[weakref.ref[Worker]]()
    gc.disable()
    try:
        try:
            fail_to_start(workers)
        except ModelLoadError as error:
            backoff.record(key("a"), error)
        assert workers[0]() is None
    finally:
        gc.enable()
    failure = backoff.active(key("a"))
    assert failure is not None
    assert (str(failure), failure.log) == ("the reason", "the trace")


async def test_the_pause_grows() -> None:
    """Each further failure doubles the pause, up to five minutes; a successful load starts again."""
    backoff, failing = LoadBackoff(), key("a")
    pauses = [backoff.record(failing, ModelLoadError("x")) for _ in range(9)]
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    backoff.clear(failing)
    assert backoff.active(failing) is None
    assert backoff.record(failing, ModelLoadError("x")) == 5
