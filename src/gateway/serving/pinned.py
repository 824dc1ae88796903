"""Keeps the pinned models loaded; the gateway is ready once all of them are."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.domain.refs import format_ref
from gateway.errors import GatewayError, NotFound
from workers.backoff import Backoff
from workers.errors import CapacityExceeded, WorkerError

if TYPE_CHECKING:
    from gateway.catalog import Catalog
    from gateway.domain.refs import ModelRef
    from gateway.engines.engine import Engine
    from gateway.serving.service import PredictionService
    from gateway.settings import CurrentSettings
    from workers.protocol.messages import ModelKey

logger = logging.getLogger(__name__)

_INITIAL_BACKOFF_SECONDS = 0.5
_MAX_BACKOFF_SECONDS = 30.0
_MIN_REFRESH_SECONDS = 1.0
_SETTINGS_POLL_SECONDS = 0.5


class PinnedModels:
    """A supervisor that keeps each pinned model loaded, and follows its ref to new versions.

    The refs are those of the current settings. `failures` has the last error of each ref whose version
    could not be loaded at the last attempt.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        settings: CurrentSettings,
        predictions: PredictionService,
        engine: Engine,
        poll_seconds: float = _SETTINGS_POLL_SECONDS,
    ) -> None:
        """Look for changed settings every `poll_seconds` seconds."""
        self._catalog = catalog
        self._settings = settings
        self._predictions = predictions
        self._engine = engine
        self._poll_seconds = poll_seconds
        self._loaded: dict[ModelRef, ModelKey] = {}
        self.failures: dict[str, str] = {}

    @property
    def ready(self) -> bool:
        """Whether every pinned model is loaded now."""
        return all(ref in self._loaded and self._engine.is_loaded(self._loaded[ref]) for ref in self._refs)

    @property
    def _refs(self) -> tuple[ModelRef, ...]:
        return self._settings.value.pinned_models

    async def run(self) -> None:
        """Keep the pinned models loaded until cancelled; unpin models that the settings no longer name."""
        tasks: dict[ModelRef, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                refs = self._refs
                for ref in tasks.keys() - set(refs):
                    await self._unpin(ref, tasks.pop(ref))
                for ref in refs:
                    if ref not in tasks:
                        name = f"keep {format_ref(ref)} loaded"
                        tasks[ref] = group.create_task(self._keep_loaded(ref), name=name)
                await asyncio.sleep(self._poll_seconds)

    async def _unpin(self, ref: ModelRef, task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.wait([task])
        self._release(ref)
        self.failures.pop(format_ref(ref), None)
        logger.info(
            "Model %s is no longer pinned",
            format_ref(ref),
            extra={"event": "model_unpinned", "model": format_ref(ref)},
        )

    async def _keep_loaded(self, ref: ModelRef) -> None:
        backoff = Backoff(_INITIAL_BACKOFF_SECONDS, _MAX_BACKOFF_SECONDS)
        while True:
            try:
                await self._refresh(ref)
            except Exception as error:  # noqa: BLE001 - the failure of one ref must not end the tasks of the others
                self._record_failure(ref, error, hint=await self._explain(ref, error))
                if isinstance(error, CapacityExceeded):
                    self._release(ref)  # its old version occupies the slot that its new version needs
                await asyncio.sleep(backoff.next_delay())
            else:
                self.failures.pop(format_ref(ref), None)
                backoff.reset()
                await asyncio.sleep(max(_MIN_REFRESH_SECONDS, self._settings.value.catalog_ttl_seconds))

    async def _explain(self, ref: ModelRef, error: Exception) -> str:
        """Return why a model that exists is not found; empty if it does not, or MLflow does not answer."""
        if not isinstance(error, NotFound):
            return ""
        try:
            return await self._catalog.explain_not_served(ref.name)
        except GatewayError:
            return ""

    def _record_failure(self, ref: ModelRef, error: Exception, *, hint: str) -> None:
        known = isinstance(error, GatewayError | WorkerError)
        self.failures[format_ref(ref)] = f"{error}{hint}" if known else "An unexpected error; see the log."
        logger.error(
            "Pinned model %s is not loaded: %s%s",
            format_ref(ref),
            error,
            hint,
            exc_info=None if known else error,
            extra={"event": "pinned_model_failed", "model": format_ref(ref)},
        )

    async def _refresh(self, ref: ModelRef) -> None:
        version = (await self._catalog.resolve(ref)).version
        before = self._loaded.get(ref)
        if before == version.key and self._engine.is_loaded(version.key):
            return
        self._engine.pin(version.key)
        try:
            await self._predictions.ensure_loaded(version)
        except BaseException:
            if version.key not in self._loaded.values():
                self._engine.unpin(version.key)
            raise
        if before != version.key:
            self._release(ref)
            self._loaded[ref] = version.key
            self._engine.pin(version.key)  # again: another ref to this version may have unpinned it meanwhile
            logger.info(
                "Pinned model %s is loaded: version %s",
                format_ref(ref),
                version.version,
                extra={"event": "pinned_model_loaded", "model": format_ref(ref), "version": version.version},
            )

    def _release(self, ref: ModelRef) -> None:
        key = self._loaded.pop(ref, None)
        if key is not None and key not in self._loaded.values():
            self._engine.unpin(key)
