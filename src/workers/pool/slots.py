"""The table of model slots: which versions are loading, loaded and unloading."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from workers.metrics import MODEL_UNLOADS

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from workers.metrics import Counters
    from workers.protocol.messages import ModelKey
    from workers.scheduler.worker_group import WorkerGroup

EvictionReason = Literal["capacity", "idle", "limit_lowered", "memory", "memory_budget"]
"""capacity, memory: another model needs it. limit_lowered: too many are loaded. memory_budget: one grew."""

logger = logging.getLogger(__name__)

_METRIC_LABELS: Final = {"limit_lowered": "capacity", "memory_budget": "memory"}


@dataclass(eq=False, slots=True)
class LoadedEntry:
    """A loaded version: its worker group, and `files`, which close when the version is unloaded.

    The requests that waited for the load arrive right after it. The version cannot be evicted before the
    first one arrives, or before `protected_until`, in the event loop's seconds.
    """

    group: WorkerGroup
    files: AsyncExitStack
    protected_until: float


class ModelSlots:
    """A table of the model versions that take a slot.

    Versions in `loaded` take requests, versions in `pinned` are never evicted. `changed` is set when a
    version that waits for a slot should look again.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._loading: dict[ModelKey, WorkerGroup | None] = {}
        self._unloading: dict[asyncio.Task[None], WorkerGroup] = {}
        self.loaded: dict[ModelKey, LoadedEntry] = {}
        self.pinned: set[ModelKey] = set()
        self.changed = asyncio.Event()
        self.closed = False

    @property
    def loading(self) -> tuple[ModelKey, ...]:
        """The versions that have a slot and are not loaded yet, in the order of their reservations."""
        return tuple(self._loading)

    @property
    def unloading(self) -> bool:
        """Whether any version's workers are still ending."""
        return bool(self._unloading)

    @property
    def count(self) -> int:
        """The number of slots that are taken."""
        return len(self.loaded) + len(self._loading)

    def groups(self) -> list[WorkerGroup]:
        """Return every group that may have processes, the ones that are unloading last."""
        starting = [group for group in self._loading.values() if group is not None]
        return [*(entry.group for entry in self.loaded.values()), *starting, *self._unloading.values()]

    def reserve(self, key: ModelKey) -> None:
        """Take a slot for a version that will be loaded. Raise ValueError if it has one."""
        if key in self.loaded or key in self._loading:
            raise ValueError(f"{key} has a slot already.")
        self._loading[key] = None

    def attach(self, key: ModelKey, group: WorkerGroup) -> None:
        """Note the group whose processes start in a reserved slot."""
        self._loading[key] = group

    def commit(self, key: ModelKey, entry: LoadedEntry) -> None:
        """Make a version loaded in its reserved slot."""
        del self._loading[key]
        self.loaded[key] = entry

    def release(self, key: ModelKey) -> None:
        """Give up a reserved slot if the version was not loaded."""
        self._loading.pop(key, None)
        self.changed.set()

    def evictable(self) -> list[ModelKey]:
        """Return the loaded versions that are neither pinned, busy nor protected."""
        now = asyncio.get_running_loop().time()
        return [
            key
            for key, entry in self.loaded.items()
            if key not in self.pinned and not entry.group.dispatcher.busy and entry.protected_until <= now
        ]

    def least_recently_used(self) -> ModelKey | None:
        """Return the evictable version whose last request is the oldest, or None if none is evictable."""
        return min(
            self.evictable(), key=lambda key: self.loaded[key].group.dispatcher.last_used, default=None
        )

    def evict(self, key: ModelKey, reason: EvictionReason) -> asyncio.Task[None]:
        """Unload an idle version, log why, and return the task that ends its workers."""
        extra = {"event": "model_unloaded", "model": str(key), "reason": reason}
        logger.info("Unloaded model %s (%s)", key, reason, extra=extra)
        return self.unload(key, _METRIC_LABELS.get(reason, reason))

    def unload(self, key: ModelKey, reason: str, *, drain_seconds: float = 0.0) -> asyncio.Task[None]:
        """Take no more requests for a loaded version, and return the task that ends its workers.

        The task waits up to `drain_seconds` for the requests that wait or run. `reason` is a metric label.
        """
        entry = self.loaded.pop(key)
        self._counters.increment(MODEL_UNLOADS, key.name, key.version, reason)
        task = asyncio.create_task(_close_entry(entry, drain_seconds=drain_seconds), name=f"unload {key}")
        self._unloading[task] = entry.group
        task.add_done_callback(self._on_unloaded)
        return task

    def stop_admitting(self) -> None:
        """Let no further version take a slot."""
        self.closed = True
        self.changed.set()

    async def close(self, *, drain_seconds: float) -> None:
        """Unload every version and wait until all workers have ended."""
        self.stop_admitting()
        for key in list(self.loaded):
            self.unload(key, "shutdown", drain_seconds=drain_seconds)
        while self._unloading:
            await asyncio.wait(self._unloading)

    def _on_unloaded(self, task: asyncio.Task[None]) -> None:
        del self._unloading[task]
        self.changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            context = {"message": "Failed to unload a model cleanly", "exception": error, "task": task}
            asyncio.get_running_loop().call_exception_handler(context)


async def _close_entry(entry: LoadedEntry, *, drain_seconds: float) -> None:
    try:
        await entry.group.close(drain_seconds=drain_seconds)
    finally:
        await entry.files.aclose()
