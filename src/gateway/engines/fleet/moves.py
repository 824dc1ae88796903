"""Loads models in the background where they should be: on a new first node, and on more nodes under load."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from cachetools import LRUCache

from gateway.engines.engine import Order
from gateway.engines.fleet.metrics import NODE_MOVES
from gateway.errors import GatewayError
from workers.errors import WorkerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from gateway.domain.models import ModelVersion
    from gateway.engines.fleet.loading import FleetLoader
    from gateway.engines.fleet.node import FleetNode
    from gateway.engines.fleet.roster import Roster
    from gateway.engines.fleet.routes import Routes
    from workers.metrics import Counters
    from workers.protocol.messages import ModelKey

logger = logging.getLogger(__name__)

_MAX_AT_ONCE: Final = 2
_MAX_CONSIDERED: Final = 100  # at once: the order of each takes 0.1 ms with 100 nodes
_MAX_VERSIONS: Final = 1000
_RETRY_SECONDS: Final = 30.0


class Moves:
    """A supervisor of loads in the background. Requests go where a model is warm, and never wait for these.

    Only models that get requests are moved, so that a node that joins is not given all at once.
    """

    def __init__(
        self,
        roster: Roster,
        routes: Routes,
        loader: FleetLoader,
        *,
        locate: Callable[[ModelKey], Awaitable[ModelVersion | None]],
        counters: Counters,
    ) -> None:
        """`locate` returns a version that another gateway has loaded, or None if it is not there any more."""
        self._roster = roster
        self._routes = routes
        self._loader = loader
        self._locate = locate
        self._counters = counters
        self._versions: LRUCache[ModelKey, ModelVersion] = LRUCache(_MAX_VERSIONS)
        self._waiting: dict[ModelKey, None] = {}
        self._tasks: dict[ModelKey, asyncio.Task[None]] = {}
        self._retry_at: LRUCache[tuple[ModelKey, str], float] = LRUCache(_MAX_VERSIONS)

    def remember(self, version: ModelVersion) -> None:
        """Keep a version that was loaded, for when it is to be loaded elsewhere."""
        self._versions[version.key] = version

    def consider(self, keys: Iterable[ModelKey]) -> None:
        """Start to load those models that are not where they should be, a few at once; the others follow."""
        self._waiting.update(dict.fromkeys(keys))
        for key in list(self._waiting)[:_MAX_CONSIDERED]:
            if len(self._tasks) >= _MAX_AT_ONCE:
                break
            del self._waiting[key]
            if key not in self._tasks and (node := self._missing(key)) is not None:
                task = asyncio.create_task(self._load(key, node), name=f"load {key} on {node.name}")
                self._tasks[key] = task
                task.add_done_callback(partial(self._on_done, key))

    async def forget(self, *keys: ModelKey) -> None:
        """Load these models nowhere, and wait for the end of those loads that run."""
        for key in keys:
            self._waiting.pop(key, None)
        if running := [self._tasks[key] for key in keys if key in self._tasks]:
            await asyncio.wait(running)

    async def close(self) -> None:
        """Cancel all."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _missing(self, key: ModelKey) -> FleetNode | None:
        """Return the first node that should have the model, and may get it; None if there is none."""
        if key not in self._routes:
            return None
        order = self._roster.order(key)
        nodes = [node for node in order if not node.draining and not node.room.is_full_for(key)]
        return next((node for node in nodes[: self._routes.replicas(key)] if self._may_load(node, key)), None)

    def _may_load(self, node: FleetNode, key: ModelKey) -> bool:
        if key in node.warm or key in node.state.failures or self._failed_lately(key, node):
            return False
        model = node.state.models.get(key)
        return model is None or model.status.state != "loading"

    def _failed_lately(self, key: ModelKey, node: FleetNode) -> bool:
        return self._retry_at.get((key, node.name), 0.0) > asyncio.get_running_loop().time()

    def _on_done(self, key: ModelKey, task: asyncio.Task[None]) -> None:
        del task
        self._tasks.pop(key)

    async def _load(self, key: ModelKey, node: FleetNode) -> None:
        try:
            version = self._versions.get(key) or await self._locate(key)
            if version is None or not node.connected:
                return
            self.remember(version)
            await self._loader.load_on(node, Order(version, (None,)))
        except (GatewayError, WorkerError) as error:
            self._retry_at[key, node.name] = asyncio.get_running_loop().time() + _RETRY_SECONDS
            self._counters.increment(NODE_MOVES, "failed")
            extra = {"event": "node_move_failed", "node": node.name, "model": str(key), "reason": str(error)}
            logger.warning("Cannot load %s on node %s as well: %s", key, node.name, error, extra=extra)
        else:
            self._counters.increment(NODE_MOVES, "loaded")
            extra = {"event": "node_move", "node": node.name, "model": str(key)}
            logger.info("Loaded %s on node %s as well", key, node.name, extra=extra)
