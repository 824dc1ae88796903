"""Keeps serving the old version of an alias, `latest` or `best` until the new version is loaded."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cachetools import LRUCache

from gateway.auth.principal import ANYONE, current_principal
from gateway.catalog.versions import require_ready
from gateway.concurrency.singleflight import SingleFlightClosed
from gateway.domain.refs import ModelRef, format_ref, parse_selector
from gateway.errors import INTERNAL_ERRORS, GatewayError, NotFound, VersionNotServable
from workers.errors import WorkerError
from workers.metrics import CounterSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.catalog import Catalog
    from gateway.domain.models import ModelVersion, Resolution
    from gateway.engines.engine import Engine
    from workers.metrics import Counters
    from workers.protocol.messages import ModelKey

logger = logging.getLogger(__name__)

_RETRY_SECONDS: Final = 5.0
_MAX_REFS: Final = 10_000

VERSION_SWITCHES: Final = CounterSpec(
    "version_switches",
    "Changes of the version behind an alias, latest or best, by outcome: switched (the new version is "
    "loaded), or failed (the old version keeps serving).",
    ("outcome",),
)


@dataclass(slots=True)
class _Pending:
    """A new version that is being loaded; after `error` it is tried again at `retry_at` (loop time)."""

    key: ModelKey
    task: asyncio.Task[None] | None = None
    retry_at: float = 0.0
    error: str = ""


class VersionRollover:
    """A switch from the old to the new version of a ref, without a request that waits or fails for it.

    The old version is served as long as it is loaded and exists in MLflow, and the new one is not loaded
    yet or fails to load. A version number or an id is never redirected: recreated, it is another model.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        engine: Engine,
        ensure_loaded: Callable[[ModelVersion], Awaitable[object]],
        counters: Counters,
    ) -> None:
        """`ensure_loaded` loads a version, and raises GatewayError or WorkerError if that fails."""
        self._catalog = catalog
        self._engine = engine
        self._counters = counters
        self._ensure_loaded = ensure_loaded
        self._served: dict[ModelRef, Resolution] = {}  # an LRUCache hashes the ref four times
        self._pending: LRUCache[ModelRef, _Pending] = LRUCache(_MAX_REFS)
        self._tasks: set[asyncio.Task[None]] = set()

    def select(self, ref: ModelRef, resolution: Resolution) -> Resolution:
        """Return the resolution to serve for `ref`, which MLflow resolves to `resolution` now."""
        if ref.selector.fixed:
            return resolution
        served = self._served.get(ref)
        if served is resolution:
            return resolution
        if served is None or self._may_switch(served, resolution):
            return self._switch(ref, resolution)
        self._start(ref, served, resolution)
        return served

    async def close(self) -> None:
        """Cancel the running loads of new versions and wait for their end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _may_switch(self, served: Resolution, resolution: Resolution) -> bool:
        old, new = served.version.key, resolution.version.key
        if old.version == new.version:
            return True  # the same version, or one recreated in MLflow, so that the old one is gone
        return self._engine.is_loaded(new) or not self._engine.is_loaded(old)

    def _switch(self, ref: ModelRef, resolution: Resolution) -> Resolution:
        if (pending := self._pending.get(ref)) is not None and pending.task is None:
            del self._pending[ref]
        before = self._served.pop(ref, None)
        self._served[ref] = resolution
        if len(self._served) > _MAX_REFS:
            del self._served[next(iter(self._served))]
        if before is not None and before.version.key != resolution.version.key:
            self._counters.increment(VERSION_SWITCHES, "switched")
            version = resolution.version.version
            logger.info(
                "%s now serves version %s",
                format_ref(ref),
                version,
                extra={"event": "version_switched", "model": format_ref(ref), "version": version},
            )
        return resolution

    def _start(self, ref: ModelRef, served: Resolution, resolution: Resolution) -> None:
        """Start loading the new version in the background, unless it runs or must not be retried yet."""
        loop = asyncio.get_running_loop()
        pending = self._pending.get(ref)
        if pending is None or pending.key != resolution.version.key:
            if pending is not None and pending.task is not None:
                pending.task.cancel()  # the load itself may go on, but this ref no longer waits for it
            pending = self._pending[ref] = _Pending(resolution.version.key)
        if pending.task is None and pending.retry_at <= loop.time():
            work = self._run(ref, pending, served=served, resolution=resolution)
            pending.task = loop.create_task(work, name=f"roll over {format_ref(ref)}")
            self._tasks.add(pending.task)
            pending.task.add_done_callback(self._tasks.discard)

    async def _run(
        self, ref: ModelRef, pending: _Pending, *, served: Resolution, resolution: Resolution
    ) -> None:
        current_principal.set(ANYONE)  # in this task: no caller chose to load the new version
        try:
            if await self._still_exists(served.version):
                await self._ensure_loaded(resolution.version)
            if self._served.get(ref) is served:
                self._switch(ref, resolution)
            if self._pending.get(ref) is pending:
                del self._pending[ref]
        except (GatewayError, WorkerError, SingleFlightClosed) as error:
            self._record_failure(ref, pending, str(error), old=served.version, new=resolution.version)
        except Exception as error:
            logger.error(
                "Unexpected error in the rollover of %s",
                format_ref(ref),
                exc_info=error,
                extra={"event": "rollover_error", "model": format_ref(ref)},
            )
            self._counters.increment(INTERNAL_ERRORS, "rollover")
            self._record_failure(
                ref, pending, type(error).__name__, old=served.version, new=resolution.version
            )
        finally:
            pending.task = None

    async def _still_exists(self, version: ModelVersion) -> bool:
        """Return whether the version is still READY in MLflow: neither deleted nor recreated."""
        ref = ModelRef(version.name, parse_selector(version.version))
        try:
            return require_ready(await self._catalog.get_version(ref)).key == version.key
        except (NotFound, VersionNotServable):
            return False

    def _record_failure(
        self, ref: ModelRef, pending: _Pending, error: str, *, old: ModelVersion, new: ModelVersion
    ) -> None:
        pending.retry_at = asyncio.get_running_loop().time() + _RETRY_SECONDS
        if error != pending.error:
            self._counters.increment(VERSION_SWITCHES, "failed")
            logger.error(
                "%s now points to version %s, which failed to load; still serving %s: %s",
                format_ref(ref),
                new.version,
                old.version,
                error,
                extra={
                    "event": "rollover_failed",
                    "model": format_ref(ref),
                    "version": new.version,
                    "reason": error,
                },
            )
        pending.error = error
