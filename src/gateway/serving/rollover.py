"""Which version answers while a reference comes to mean another one: the old, until the new is warm."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.catalog.versions import servable
from gateway.concurrency.singleflight import OnceClosed
from gateway.domain.refs import ModelRef, Number, text
from gateway.errors import UNEXPECTED_ERRORS, GatewayError, NotFound, NotServable
from workers.errors import WorkerError
from workers.metrics import CounterSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.catalog import Catalog
    from gateway.domain.models import ModelVersion, Resolution
    from workers.pool.pool import Pool
    from workers.protocol.messages import ModelKey

logger = logging.getLogger(__name__)

_PAUSE_SECONDS: Final = 5.0
_MOST_REFS: Final = 10_000

SUCCESSIONS: Final = CounterSpec(
    "successions",
    "References (alias, latest, best) that came to mean another version, by outcome: switched, once that one "
    "was warm, or failed: the version before goes on answering.",
    ("outcome",),
)


@dataclass(slots=True)
class _Coming:
    """The version that is brought up, and what of it failed; `due` is when it is tried again."""

    key: ModelKey
    task: asyncio.Task[None] | None = None
    due: float = 0.0
    problem: str = ""


class Succession:
    """Lets a moved alias and a new version be taken up without a request that waits or fails.

    The version before answers as long as it is warm and still there in MLflow, and the new one is neither
    warm nor can it be loaded. A number never means another version: made anew, it is another model.
    """

    def __init__(
        self, catalog: Catalog, *, pool: Pool, warm: Callable[[ModelVersion], Awaitable[object]]
    ) -> None:
        """`warm` has a version loaded, and raises GatewayError or WorkerError where it cannot be."""
        self._catalog = catalog
        self._pool = pool
        self._warm = warm
        self._served: dict[ModelRef, Resolution] = {}
        self._coming: dict[ModelRef, _Coming] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def of(self, ref: ModelRef, resolution: Resolution) -> Resolution:
        """What answers a request for `ref`, which means `resolution` now."""
        served = self._served.get(ref)
        if served is resolution or type(ref.selector) is Number:
            return resolution
        if served is None or self._may_switch(served, resolution):
            return self._switch(ref, resolution)
        self._bring(ref, served, resolution)
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
        if (coming := self._coming.get(ref)) is not None and coming.task is None:
            del self._coming[ref]
        before = self._served.pop(ref, None)
        self._served[ref] = resolution
        if len(self._served) > _MOST_REFS:
            oldest = next(iter(self._served))
            del self._served[oldest]
            if (coming := self._coming.get(oldest)) is not None and coming.task is None:
                del self._coming[oldest]
        if before is not None and before.version.key != resolution.version.key:
            self._pool.counters.increment(SUCCESSIONS, "switched")
            logger.info("%s is version %s from now on", text(ref), resolution.version.version)
        return resolution

    def _bring(self, ref: ModelRef, served: Resolution, resolution: Resolution) -> None:
        """Have the new version brought up behind the requests, once at a time."""
        loop = asyncio.get_running_loop()
        coming = self._coming.get(ref)
        if coming is None or coming.key != resolution.version.key:
            if coming is not None and coming.task is not None:
                coming.task.cancel()  # the load may go on, and nobody waits for it any more
            coming = self._coming[ref] = _Coming(resolution.version.key)
        if coming.task is None and coming.due <= loop.time():
            work = self._brought(ref, coming, served=served, resolution=resolution)
            coming.task = loop.create_task(work, name=f"bring up {text(ref)}")
            self._tasks.add(coming.task)
            coming.task.add_done_callback(self._tasks.discard)

    async def _brought(
        self, ref: ModelRef, coming: _Coming, *, served: Resolution, resolution: Resolution
    ) -> None:
        try:
            if await self._still_there(served.version):
                await self._warm(resolution.version)
            if self._served.get(ref) is served:
                self._switch(ref, resolution)
            if self._coming.get(ref) is coming:
                del self._coming[ref]
        except (GatewayError, WorkerError, OnceClosed) as error:
            self._note(ref, coming, str(error), version=resolution.version.version)
        except Exception as error:
            logger.error("%s: unexpected error", text(ref), exc_info=error)
            self._pool.counters.increment(UNEXPECTED_ERRORS, "succession")
            self._note(ref, coming, type(error).__name__, version=resolution.version.version)
        finally:
            coming.task = None

    async def _still_there(self, version: ModelVersion) -> bool:
        """Whether the version may go on answering: it was not deleted, nor its model made anew."""
        ref = ModelRef(version.name, Number(int(version.version)))
        try:
            return servable(await self._catalog.version(ref)).key == version.key
        except (NotFound, NotServable):
            return False

    def _note(self, ref: ModelRef, coming: _Coming, problem: str, *, version: str) -> None:
        coming.due = asyncio.get_running_loop().time() + _PAUSE_SECONDS
        if problem != coming.problem:
            self._pool.counters.increment(SUCCESSIONS, "failed")
            message = "%s means version %s now, which cannot be had; the version before goes on answering: %s"
            logger.error(message, text(ref), version, problem)
        coming.problem = problem
