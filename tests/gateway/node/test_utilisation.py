"""The utilisation of a model's workers, and how many nodes it asks for."""

from __future__ import annotations

import pytest

from gateway.node.utilisation import Utilisation
from workers.protocol.messages import ModelKey

KEY = ModelKey("wine", "1", "f")


def run(utilisation: Utilisation, share: float, *, seconds: int, start: int = 0) -> None:
    """Let the workers be busy for this share of each second."""
    for second in range(start, start + seconds + 1):
        utilisation.record({KEY: second * share}, now=float(second))


def test_the_share_is_that_of_the_window() -> None:
    """What was long ago does not count, and what is not loaded is not busy."""
    utilisation = Utilisation()
    run(utilisation, 0.5, seconds=30)
    assert utilisation.busy(KEY) == pytest.approx(0.5)
    for second in range(31, 42):
        utilisation.record({KEY: 15.0}, now=float(second))
    assert utilisation.busy(KEY) == 0.0
    assert utilisation.busy(ModelKey("other", "1", "f")) == 0.0


def test_an_idle_model_is_wanted_on_the_least_number_of_nodes() -> None:
    """Whatever the settings say is the least."""
    utilisation = Utilisation(least=2)
    run(utilisation, 0.0, seconds=60)
    assert utilisation.wanted(KEY) == 2


def test_a_busy_model_asks_for_one_node_more_at_a_time_up_to_the_most() -> None:
    """A node that loads the model takes no part of the load yet, which must not count as a need for more."""
    utilisation = Utilisation(most=3)
    seen = []
    for second in range(100):
        utilisation.record({KEY: float(second)}, now=float(second))
        seen.append(utilisation.wanted(KEY))
    assert seen[8] == 1
    assert seen[-1] == 3
    changes = [at for at in range(1, len(seen)) if seen[at] != seen[at - 1]]
    assert len(changes) == 2
    assert changes[1] - changes[0] >= 10


def test_a_model_that_is_idle_again_gives_its_nodes_back() -> None:
    """So that other models have the memory."""
    utilisation = Utilisation()
    run(utilisation, 0.9, seconds=25)
    assert utilisation.wanted(KEY) > 1
    for second in range(26, 120):
        utilisation.record({KEY: 25 * 0.9}, now=float(second))
    assert utilisation.wanted(KEY) == 1


def test_an_unloaded_model_is_forgotten() -> None:
    """A version that comes and goes leaves nothing behind."""
    utilisation = Utilisation()
    run(utilisation, 0.9, seconds=25)
    utilisation.record({}, now=26.0)
    assert utilisation.wanted(KEY) == 1


def test_more_nodes_wanted_than_there_are_does_no_harm() -> None:
    """The load that is computed of them is too high, but half of them are given up when all are half idle."""
    utilisation = Utilisation()
    busy = 0.0
    for second in range(200):
        busy += 0.9
        utilisation.record({KEY: busy}, now=float(second))
    assert utilisation.wanted(KEY) > 10
    for second in range(200, 400):
        busy += 0.05
        utilisation.record({KEY: busy}, now=float(second))
    assert utilisation.wanted(KEY) == 1
