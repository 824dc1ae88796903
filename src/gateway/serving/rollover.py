"""Which version answers while a reference comes to mean another one: the old, until the new is warm."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.catalog.versions import require_ready
from gateway.concurrency.singleflight import SingleFlightClosed
from gateway.domain.refs import ModelRef, Number, format_ref
from gateway.errors import INTERNAL_ERRORS, GatewayError, NotFound, VersionNotServable
from workers.errors import WorkerError
from workers.metrics import CounterSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.catalog import Catalog
    from gateway.domain.models import ModelVersion, Resolution
    from workers.pool.pool import Pool
    from workers.protocol.messages import ModelKey

logger = logging.getLogger(__name__)

_RETRY_SECONDS: Final = 5.0
_MAX_REFS: Final = 10_000

VERSION_SWITCHES: Final = CounterSpec(
    "successions",
    "References (alias, latest, best) that came to mean another version, by outcome: switched, once that one "
    "was warm, or failed: the version before goes on answering.",
    ("outcome",),
)


@dataclass(slots=True)
class _Pending:
    """The version that is brought up, and what of it failed; `due` is when it is tried again."""

    key: ModelKey
    task: asyncio.Task[None] | None = None
    retry_at: float = 0.0
    error: str = ""


class VersionRollover:
    """Lets a moved alias and a new version be taken up without a request that waits or fails.

    The version before answers as long as it is warm and still there in MLflow, and the new one is neither
    warm nor can it be loaded. A number never means another version: made anew, it is another model.
    """

    def __init__(
        self, catalog: Catalog, *, pool: Pool, ensure_loaded: Callable[[ModelVersion], Awaitable[object]]
    ) -> None:
        """`warm` has a version loaded, and raises GatewayError or WorkerError where it cannot be."""
        self._catalog = catalog
        self._pool = pool
        self._ensure_loaded = ensure_loaded
        self._served: dict[ModelRef, Resolution] = {}
        self._pending: dict[ModelRef, _Pending] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def select(self, ref: ModelRef, resolution: Resolution) -> Resolution:
        """What answers a request for `ref`, which means `resolution` now."""
        served = self._served.get(ref)
        if served is resolution or type(ref.selector) is Number:
            return resolution
        if served is None or self._may_switch(served, resolution):
            return self._switch(ref, resolution)
        self._start(ref, served, resolution)
        return served

    async def close(self) -> None:
        """End what is being brought up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _may_switch(self, served: Resolution, resolution: Resolution) -> bool:
        before, now = served.version.key, resolution.version.key
        if before.version == now.version:
            return True  # the same, or one made anew, and then the one before is not there any more
        return self._pool.is_loaded(now) or not self._pool.is_loaded(before)

    def _switch(self, ref: ModelRef, resolution: Resolution) -> Resolution:
        if (coming := self._pending.get(ref)) is not None and coming.task is None:
            del self._pending[ref]
        before = self._served.pop(ref, None)
        self._served[ref] = resolution
        if len(self._served) > _MAX_REFS:
            oldest = next(iter(self._served))
            del self._served[oldest]
            if (coming := self._pending.get(oldest)) is not None and coming.task is None:
                del self._pending[oldest]
        if before is not None and before.version.key != resolution.version.key:
            self._pool.counters.increment(VERSION_SWITCHES, "switched")
            logger.info("%s is version %s from now on", format_ref(ref), resolution.version.version)
        return resolution

    def _start(self, ref: ModelRef, served: Resolution, resolution: Resolution) -> None:
        """Have the new version brought up behind the requests, once at a time."""
        loop = asyncio.get_running_loop()
        coming = self._pending.get(ref)
        if coming is None or coming.key != resolution.version.key:
            if coming is not None and coming.task is not None:
                coming.task.cancel()  # the load may go on, and nobody waits for it any more
            coming = self._pending[ref] = _Pending(resolution.version.key)
        if coming.task is None and coming.retry_at <= loop.time():
            work = self._run(ref, coming, served=served, resolution=resolution)
            coming.task = loop.create_task(work, name=f"bring up {format_ref(ref)}")
            self._tasks.add(coming.task)
            coming.task.add_done_callback(self._tasks.discard)

    async def _run(
        self, ref: ModelRef, coming: _Pending, *, served: Resolution, resolution: Resolution
    ) -> None:
        try:
            if await self._still_exists(served.version):
                await self._ensure_loaded(resolution.version)
            if self._served.get(ref) is served:
                self._switch(ref, resolution)
            if self._pending.get(ref) is coming:
                del self._pending[ref]
        except (GatewayError, WorkerError, SingleFlightClosed) as error:
            self._record_failure(ref, coming, str(error), version=resolution.version.version)
        except Exception as error:
            logger.error("%s: unexpected error", format_ref(ref), exc_info=error)
            self._pool.counters.increment(INTERNAL_ERRORS, "succession")
            self._record_failure(ref, coming, type(error).__name__, version=resolution.version.version)
        finally:
            coming.task = None

    async def _still_exists(self, version: ModelVersion) -> bool:
        """Whether the version may go on answering: it was not deleted, nor its model made anew."""
        ref = ModelRef(version.name, Number(int(version.version)))
        try:
            return require_ready(await self._catalog.get_version(ref)).key == version.key
        except (NotFound, VersionNotServable):
            return False

    def _record_failure(self, ref: ModelRef, coming: _Pending, problem: str, *, version: str) -> None:
        coming.retry_at = asyncio.get_running_loop().time() + _RETRY_SECONDS
        if problem != coming.error:
            self._pool.counters.increment(VERSION_SWITCHES, "failed")
            message = "%s means version %s now, which cannot be had; the version before goes on answering: %s"
            logger.error(message, format_ref(ref), version, problem)
        coming.error = problem
