"""The table of model slots: which versions are loading, loaded and unloading."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from workers.metrics import MODEL_UNLOADS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AsyncExitStack

    from workers.metrics import Counters
    from workers.protocol.messages import ModelKey
    from workers.scheduler.worker_group import WorkerGroup

EvictionReason = Literal[
    "capacity", "device", "fair_share", "idle", "limit_lowered", "memory", "memory_budget"
]
"""capacity, memory: another model needs it. fair_share: it does, and the owner has more than its share.
device: another model needs its GPU. limit_lowered: too many are loaded. memory_budget: one grew."""

logger = logging.getLogger(__name__)

_METRIC_LABELS: Final = {"fair_share": "capacity", "limit_lowered": "capacity", "memory_budget": "memory"}


@dataclass(eq=False, slots=True)
class LoadedEntry:
    """A loaded version: its worker group, and `files`, which close when the version is unloaded.

    The requests that waited for the load arrive right after it. The version cannot be evicted before the
    first one arrives, or before `protected_until`, in the event loop's seconds. `owner` is the name of the
    caller whose request caused the load, if any.
    """

    group: WorkerGroup
    files: AsyncExitStack
    protected_until: float
    owner: str | None = None


class ModelSlots:
    """A table of the model versions that take a slot.

    Versions in `loaded` take requests, versions in `pinned` are never evicted. `changed` is set when a
    version that waits for a slot should look again. `on_change` is called after each change of the table.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._loading: dict[ModelKey, WorkerGroup | None] = {}
        self._loading_owners: dict[ModelKey, str | None] = {}
        self._unloading: dict[asyncio.Task[None], WorkerGroup] = {}
        self.loaded: dict[ModelKey, LoadedEntry] = {}
        self.pinned: set[ModelKey] = set()
        self.changed = asyncio.Event()
        self.closed = False
        self.on_change: Callable[[], None] = _ignore

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

    def versions(self) -> list[ModelKey]:
        """Return the versions that take a slot."""
        return [*self.loaded, *self._loading]

    def owner(self, key: ModelKey) -> str | None:
        """Return the owner of a version that takes a slot."""
        entry = self.loaded.get(key)
        return self._loading_owners.get(key) if entry is None else entry.owner

    def memory_bytes(self, key: ModelKey) -> int:
        """Return the bytes that a version's workers used when last measured."""
        entry = self.loaded.get(key)
        group = self._loading.get(key) if entry is None else entry.group
        return 0 if group is None else group.memory_bytes

    def reserve(self, key: ModelKey, owner: str | None = None) -> None:
        """Take a slot for a version that will be loaded. Raise ValueError if it has one."""
        if key in self.loaded or key in self._loading:
            raise ValueError(f"{key} has a slot already.")
        self._loading[key] = None
        self._loading_owners[key] = owner
        self.on_change()

    def attach(self, key: ModelKey, group: WorkerGroup) -> None:
        """Note the group whose processes start in a reserved slot."""
        self._loading[key] = group

    def commit(self, key: ModelKey, entry: LoadedEntry) -> None:
        """Make a version loaded in its reserved slot."""
        del self._loading[key]
        entry.owner = self._loading_owners.pop(key, None)
        self.loaded[key] = entry
        self.on_change()

    def release(self, key: ModelKey) -> None:
        """Give up a reserved slot if the version was not loaded."""
        self._loading.pop(key, None)
        self._loading_owners.pop(key, None)
        self.changed.set()
        self.on_change()

    def evictable(self) -> list[ModelKey]:
        """Return the loaded versions that are neither pinned, busy nor protected."""
        return [key for key in self.unprotected() if not self.loaded[key].group.dispatcher.busy]

    def unprotected(self) -> list[ModelKey]:
        """Return the loaded versions that are neither pinned nor protected, busy or not."""
        now = asyncio.get_running_loop().time()
        return [
            key
            for key, entry in self.loaded.items()
            if key not in self.pinned and entry.protected_until <= now
        ]

    def least_recently_used(self, among: Iterable[ModelKey] | None = None) -> ModelKey | None:
        """Return the version whose last request is the oldest, or None.

        It is one of the loaded ones in `among`, by default of all that are evictable.
        """
        candidates = self.evictable() if among is None else among
        return min(candidates, key=lambda key: self.loaded[key].group.dispatcher.last_used, default=None)

    def evict(
        self, key: ModelKey, reason: EvictionReason, *, drain_seconds: float = 0.0
    ) -> asyncio.Task[None]:
        """Unload a version, log why, and return the task that ends its workers.

        One that is not idle has `drain_seconds` to answer the requests that wait or run.
        """
        log_unloaded(key, reason)
        return self.unload(key, _METRIC_LABELS.get(reason, reason), drain_seconds=drain_seconds)

    def unload(self, key: ModelKey, reason: str, *, drain_seconds: float = 0.0) -> asyncio.Task[None]:
        """Take no more requests for a loaded version, and return the task that ends its workers.

        The task waits up to `drain_seconds` for the requests that wait or run. `reason` is a metric label.
        """
        entry = self.loaded.pop(key)
        self._counters.increment(MODEL_UNLOADS, key.name, key.version, reason)
        task = asyncio.create_task(_close_entry(entry, drain_seconds=drain_seconds), name=f"unload {key}")
        self._unloading[task] = entry.group
        task.add_done_callback(self._on_unloaded)
        self.on_change()
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


def log_unloaded(key: ModelKey, reason: EvictionReason | Literal["request"]) -> None:
    """Log why a version is unloaded."""
    extra = {"event": "model_unloaded", "model": str(key), "reason": reason}
    logger.info("Unloaded model %s (%s)", key, reason, extra=extra)


def _ignore() -> None:
    """Do nothing: no one watches the table."""


async def _close_entry(entry: LoadedEntry, *, drain_seconds: float) -> None:
    try:
        await entry.group.close(drain_seconds=drain_seconds)
    finally:
        await entry.files.aclose()
