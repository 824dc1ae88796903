"""Loads that failed, remembered so that a broken model is not loaded on each request."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workers.errors import LoadFailed

if TYPE_CHECKING:
    from workers.messages import ModelKey

_FIRST_PAUSE_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 300.0
_MOST_REMEMBERED = 1_000


@dataclass(frozen=True, slots=True)
class _Failed:
    error: LoadFailed
    pause: float
    until: float


class Failures:
    """A growing pause per model version: 5 s after the first failure, doubled each time, at most 300 s."""

    def __init__(self) -> None:
        self._failed: OrderedDict[ModelKey, _Failed] = OrderedDict()

    def remember(self, key: ModelKey, error: LoadFailed) -> None:
        """Note a failed load: what it says, not the error, whose frames hold the worker and its pipes."""
        error = LoadFailed(str(error), log=error.log)
        before = self._failed.pop(key, None)
        pause = _FIRST_PAUSE_SECONDS if before is None else min(_LONGEST_PAUSE_SECONDS, before.pause * 2)
        self._failed[key] = _Failed(error, pause, asyncio.get_running_loop().time() + pause)
        if len(self._failed) > _MOST_REMEMBERED:
            self._failed.popitem(last=False)

    def forget(self, key: ModelKey) -> None:
        """Note that the model could be loaded."""
        self._failed.pop(key, None)

    def recent(self, key: ModelKey) -> LoadFailed | None:
        """The last load's failure while its pause lasts."""
        failed = self._failed.get(key)
        if failed is None or failed.until <= asyncio.get_running_loop().time():
            return None
        return failed.error
