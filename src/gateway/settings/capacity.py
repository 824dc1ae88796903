"""How much of this machine the workers may use, by the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.system import resources
from workers.limits import PoolLimits

if TYPE_CHECKING:
    from gateway.settings.loader import CurrentSettings
    from gateway.settings.schema import Settings

_MIN_CONCURRENT_LOADS: Final = 2  # a load that waits for disk or network leaves the core to the other one
_DEFAULT_MEMORY_SHARE: Final = 0.8  # the rest: other programs, and growth between two measurements


def max_workers(settings: Settings) -> int:
    """Return the greatest number of workers at once."""
    return settings.max_loaded_models * settings.workers_per_model


def threads_per_worker(settings: Settings) -> int:
    """Return how many threads the numeric libraries of one worker may use."""
    return resources.threads_per_worker(
        cores=resources.available_cores(), processes=settings.processes, workers=settings.workers_per_model
    )


def memory_budget_bytes(settings: Settings) -> int:
    """Return the bytes of memory that the workers, and the process that starts them, may use together."""
    return settings.memory_budget_bytes or int(resources.available_memory() * _DEFAULT_MEMORY_SHARE)


def pool_limits(settings: Settings) -> PoolLimits:
    """Return the limits of the only worker pool of a gateway, however many processes it has."""
    return PoolLimits(
        workers_per_model=settings.workers_per_model,
        max_loaded_models=settings.max_loaded_models,
        max_concurrent_loads=max(_MIN_CONCURRENT_LOADS, resources.available_cores()),
        memory_bytes=memory_budget_bytes(settings),
        idle_seconds=settings.idle_seconds,
        max_queue=settings.max_queue,
        request_seconds=settings.request_timeout_seconds,
        stream_seconds=settings.stream_timeout_seconds,
        load_seconds=settings.load_timeout_seconds,
        max_answer_bytes=settings.max_answer_bytes,
        environments_running=settings.environments.running,
    )


class CurrentPoolLimits:
    """A function that returns the pool's limits by the current settings.

    The pool calls it whenever it looks for a slot. The limits are computed once for each settings object,
    because reading the machine's capacity takes about a millisecond.
    """

    def __init__(self, settings: CurrentSettings) -> None:
        self._settings = settings
        self._source: Settings | None = None

    def __call__(self) -> PoolLimits:
        if self._source is not self._settings.value:
            self._source = self._settings.value
            self._limits = pool_limits(self._source)
        return self._limits
