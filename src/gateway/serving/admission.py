"""A limit on the requests that wait for one load."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from workers.errors import QueueFull
from workers.metrics import QUEUE_REJECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.settings import CurrentSettings
    from workers.metrics import Counters
    from workers.protocol.messages import ModelKey


class LoadWaitLimit:
    """A limit on the requests that wait for one version to be loaded: `max_queue` of the settings."""

    def __init__(self, settings: CurrentSettings, *, counters: Counters) -> None:
        self._settings = settings
        self._counters = counters
        self._waiting: Counter[ModelKey] = Counter()

    @contextmanager
    def slot(self, key: ModelKey) -> Iterator[None]:
        """Count one more waiting request until the context ends. Raise QueueFull if too many wait."""
        if self._waiting[key] >= self._settings.value.max_queue:
            self._counters.increment(QUEUE_REJECTIONS, key.name, key.version)
            raise QueueFull(f"{self._waiting[key]} requests wait for this version to be loaded.")
        self._waiting[key] += 1
        try:
            yield
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]
