"""The pinned models: warm before the gateway is ready, and kept so."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.domain.refs import format_ref
from gateway.errors import GatewayError
from workers.errors import CapacityExceeded, WorkerError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.catalog import Catalog
    from gateway.domain.refs import ModelRef
    from gateway.serving.service import PredictionService
    from workers.pool.pool import Pool
    from workers.protocol.messages import ModelKey

logger = logging.getLogger(__name__)

_INITIAL_BACKOFF_SECONDS = 0.5
_MAX_BACKOFF_SECONDS = 30.0


class PinnedModels:
    """Keeps a worker warm for each pinned ref, and follows it when it comes to mean another version.

    `problems` says of each ref that could not be had at the last try why not.
    """

    def __init__(
        self,
        refs: Iterable[ModelRef],
        catalog: Catalog,
        *,
        serving: PredictionService,
        pool: Pool,
        refresh_seconds: float,
    ) -> None:
        """`every` so many seconds each ref is resolved anew."""
        self._refs = tuple(dict.fromkeys(refs))
        self._refs_changed = asyncio.Event()
        self._catalog = catalog
        self._serving = serving
        self._pool = pool
        self._refresh_seconds = refresh_seconds
        self._loaded: dict[ModelRef, ModelKey] = {}
        self.failures: dict[str, str] = {}

    @property
    def ready(self) -> bool:
        """Whether every pinned model is warm now."""
        return all(ref in self._loaded and self._pool.is_loaded(self._loaded[ref]) for ref in self._refs)

    def change(self, refs: Iterable[ModelRef], *, every: float) -> None:
        """Keep these from now on; what was pinned and is none of them may be unloaded again."""
        self._refs = tuple(dict.fromkeys(refs))
        self._refresh_seconds = every
        self._refs_changed.set()

    async def run(self) -> None:
        """Load and keep the pinned models, until cancelled."""
        keepers: dict[ModelRef, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                self._refs_changed.clear()
                for ref in keepers.keys() - set(self._refs):
                    await self._unpin(ref, keepers.pop(ref))
                for ref in self._refs:
                    if ref not in keepers:
                        keepers[ref] = group.create_task(
                            self._keep_loaded(ref), name=f"pinned {format_ref(ref)}"
                        )
                await self._refs_changed.wait()

    async def _unpin(self, ref: ModelRef, keeper: asyncio.Task[None]) -> None:
        keeper.cancel()
        await asyncio.wait([keeper])
        self._release(ref)
        self.failures.pop(format_ref(ref), None)
        logger.info("The model %s is pinned no more.", format_ref(ref))

    async def _keep_loaded(self, ref: ModelRef) -> None:
        pause = _INITIAL_BACKOFF_SECONDS
        while True:
            try:
                await self._refresh(ref)
            except Exception as error:  # noqa: BLE001 - whatever befalls one pin must not end the keeping of all
                self._record_failure(ref, error)
                if isinstance(error, CapacityExceeded):
                    self._release(ref)  # what it was before takes the place that it needs now
                await asyncio.sleep(pause)
                pause = min(2 * pause, _MAX_BACKOFF_SECONDS)
            else:
                self.failures.pop(format_ref(ref), None)
                pause = _INITIAL_BACKOFF_SECONDS
                await asyncio.sleep(self._refresh_seconds)

    def _record_failure(self, ref: ModelRef, error: Exception) -> None:
        known = isinstance(error, GatewayError | WorkerError)
        self.failures[format_ref(ref)] = str(error) if known else "An unexpected error; the log has it."
        logger.error(
            "The pinned model %s is not warm: %s", format_ref(ref), error, exc_info=None if known else error
        )

    async def _refresh(self, ref: ModelRef) -> None:
        version = (await self._catalog.resolve(ref)).version
        before = self._loaded.get(ref)
        if before == version.key and self._pool.is_loaded(version.key):
            return
        self._pool.pin(version.key)
        try:
            await self._serving.ensure_loaded(version)
        except BaseException:
            if version.key not in self._loaded.values():
                self._pool.unpin(version.key)
            raise
        if before != version.key:
            self._release(ref)
            self._loaded[ref] = version.key
            self._pool.pin(version.key)  # another ref that meant it may have been let go meanwhile
            logger.info("The pinned model %s is warm: version %s.", format_ref(ref), version.version)

    def _release(self, ref: ModelRef) -> None:
        key = self._loaded.pop(ref, None)
        if key is not None and key not in self._loaded.values():
            self._pool.unpin(key)
