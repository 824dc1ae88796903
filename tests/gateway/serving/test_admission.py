"""Proves how many requests wait for one version."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from gateway import settings
from gateway.serving.admission import LoadWaitLimit
from gateway.settings import CurrentSettings
from workers.errors import QueueFull
from workers.metrics import QUEUE_REJECTIONS, Counters
from workers.protocol.messages import ModelKey

WINE, PLAIN = (ModelKey(name, "1", "f") for name in ("wine", "plain"))


def current(**values: object) -> CurrentSettings:
    """Return settings of which these differ from the defaults, by the end of their name."""
    return CurrentSettings(settings.load({f"GATEWAY_{name}": str(value) for name, value in values.items()}))


def test_each_version_has_its_own_limit_of_waiting_requests() -> None:
    """A further request fails at once and is counted; one that ends lets the next wait."""
    counters = Counters()
    limit = LoadWaitLimit(current(MAX_QUEUE=2), counters=counters)
    with ExitStack() as stack:
        first = ExitStack()
        first.enter_context(limit.slot(WINE))
        stack.enter_context(limit.slot(WINE))
        with pytest.raises(QueueFull, match="2 requests wait for this version to be loaded"):
            stack.enter_context(limit.slot(WINE))
        stack.enter_context(limit.slot(PLAIN))
        first.close()
        stack.enter_context(limit.slot(WINE))
    with limit.slot(WINE), limit.slot(WINE):
        pass
    assert counters.value(QUEUE_REJECTIONS, "wine", "1") == 1
    assert counters.value(QUEUE_REJECTIONS, "plain", "1") == 0


def test_a_changed_limit_holds_for_later_requests() -> None:
    """The limit is read for each request."""
    live = current(MAX_QUEUE=1)
    limit = LoadWaitLimit(live, counters=Counters())
    with limit.slot(WINE):
        live.value = current(MAX_QUEUE=2).value
        with limit.slot(WINE), pytest.raises(QueueFull), limit.slot(WINE):
            raise AssertionError("a third request waits")
