"""Proves how the settings share this machine among gateway processes and workers."""

from __future__ import annotations

from gateway import settings
from gateway.settings import capacity
from gateway.system import resources

VALUES = {
    "GATEWAY_PROCESSES": "2",
    "GATEWAY_MAX_LOADED_MODELS": "7",
    "GATEWAY_WORKERS_PER_MODEL": "4",
    "GATEWAY_MEMORY_BUDGET_BYTES": "1000",
}


def test_the_limits_are_of_the_machine() -> None:
    """Models, workers and memory are those of the settings, however many gateway processes share them."""
    chosen = settings.load(VALUES)
    assert capacity.max_workers(chosen) == 7 * 4
    assert capacity.memory_budget_bytes(chosen) == 1000
    limits = capacity.pool_limits(chosen)
    assert (limits.max_loaded_models, limits.workers_per_model, limits.memory_bytes) == (7, 4, 1000)
    assert limits.max_concurrent_loads == max(2, resources.available_cores())


def test_the_default_memory_budget() -> None:
    """It is 80 % of what the machine or the control group has."""
    expected = resources.available_memory() * 0.8
    assert abs(capacity.memory_budget_bytes(settings.load({})) - expected) < 1


def test_the_threads_of_a_worker() -> None:
    """A worker has one thread at least, however many workers there are."""
    many = settings.load(VALUES | {"GATEWAY_WORKERS_PER_MODEL": "1000"})
    assert capacity.threads_per_worker(many) == 1
