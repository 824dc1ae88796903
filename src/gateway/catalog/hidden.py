"""Tells operators of experiments that clients cannot reach, because a registered model has their name."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from cachetools import TTLCache

from gateway.catalog.sources import find_experiment
from gateway.errors import GatewayError
from workers.metrics import CounterSpec

if TYPE_CHECKING:
    from gateway.mlflow_client import Experiment, MlflowClient
    from workers.metrics import Counters

HIDDEN_EXPERIMENTS: Final = CounterSpec(
    "hidden_experiments",
    "Experiments found to be hidden by a registered model with their name, each counted once a day.",
)

logger = logging.getLogger(__name__)

_LOOK_UP_SECONDS: Final = 3600.0
_TELL_SECONDS: Final = 86_400.0
_MAX_REMEMBERED: Final = 10_000
_MAX_LOOK_UPS: Final = 10


class HiddenExperiments:
    """A watch for experiments whose name a registered model has, which is served in their place.

    A user who may register a model can choose any name, so the model may be another user's than the
    experiment. Each experiment is logged and counted once in `tell_seconds`. MLflow is asked at most once in
    `look_up_seconds` for each registered model that is used.
    """

    def __init__(
        self,
        client: MlflowClient,
        counters: Counters,
        *,
        look_up_seconds: float = _LOOK_UP_SECONDS,
        tell_seconds: float = _TELL_SECONDS,
    ) -> None:
        self._client = client
        self._counters = counters
        self._looked_up: TTLCache[str, bool] = TTLCache(_MAX_REMEMBERED, look_up_seconds)
        self._told: TTLCache[str, bool] = TTLCache(_MAX_REMEMBERED, tell_seconds)
        self._look_ups: set[asyncio.Task[None]] = set()

    def look_up_soon(self, name: str) -> None:
        """Look for an experiment that the registered model `name` hides, without making the caller wait."""
        if name in self._looked_up or len(self._look_ups) >= _MAX_LOOK_UPS:
            return
        self._looked_up[name] = True
        task = asyncio.create_task(self._look_up(name), name=f"hidden experiment {name}")
        self._look_ups.add(task)
        task.add_done_callback(self._look_ups.discard)

    async def find(self, name: str) -> Experiment | None:
        """Return the experiment that the registered model `name` hides, or None; raise what MLflow causes."""
        experiment = await find_experiment(self._client, name)
        if experiment is None or experiment.name != name:
            return None
        self.tell(name)
        return experiment

    def tell(self, name: str) -> None:
        """Log and count that the experiment `name` is hidden, unless it has just been logged."""
        if name in self._told:
            return
        self._told[name] = True
        self._counters.increment(HIDDEN_EXPERIMENTS)
        logger.warning(
            "The registered model %r is served in place of the experiment with the same name",
            name,
            extra={"event": "experiment_hidden", "model": name},
        )

    async def close(self) -> None:
        """Cancel the running look-ups and wait for their end."""
        for task in self._look_ups:
            task.cancel()
        if self._look_ups:
            await asyncio.wait(self._look_ups)

    async def _look_up(self, name: str) -> None:
        try:
            await self.find(name)
        except GatewayError as error:
            self._looked_up.pop(name, None)
            logger.debug("Cannot tell whether %r hides an experiment: %s", name, error)
