"""The loads of a node: one at a time for each version, whichever gateways wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.concurrency.singleflight import SingleFlight
from gateway.engines.engine import Order
from workers.errors import PoolClosed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from gateway.domain.models import ModelVersion
    from gateway.engines.local import LocalEngine
    from workers.protocol.messages import ModelKey

_MAX_OWNERS: Final = 100  # of one load, that are asked whose share it is within


class NodeLoads:
    """The loads that run, with the owners that all gateways named for each."""

    def __init__(
        self, engine: LocalEngine, confirm: Callable[[ModelVersion], Awaitable[ModelVersion]]
    ) -> None:
        """`confirm` returns what a node itself knows of a version that a gateway names, or raises."""
        self._engine = engine
        self._confirm = confirm
        self._flight: SingleFlight[ModelKey] = SingleFlight()
        self._owners: dict[ModelKey, dict[str | None, None]] = {}
        self._refuses = False

    async def load(self, version: ModelVersion, owners: Iterable[str | None]) -> float:
        """Load a version, or wait for the load that runs; return the seconds that the download took.

        Cancelling a caller does not end the load. Raise what `Engine.load` raises, and PoolClosed once the
        node drains.
        """
        if self._refuses:
            raise PoolClosed("The node is being stopped.")
        key = version.key
        self.add_owners(key, owners)
        return await self._flight.do(key, lambda: self._load(version))

    def add_owners(self, key: ModelKey, owners: Iterable[str | None]) -> None:
        """Note more owners of a load: the share of any of them may allow it."""
        known = self._owners.setdefault(key, {})
        before = len(known)
        for owner in owners:
            if len(known) < _MAX_OWNERS:
                known[owner] = None
        if len(known) > before and self._flight.is_running(key):
            self._engine.notify_owners_changed()

    def refuse(self) -> None:
        """Begin no load any more."""
        self._refuses = True

    async def close(self) -> None:
        """Cancel the loads that run."""
        await self._flight.close()

    async def _load(self, version: ModelVersion) -> float:
        key = version.key
        try:
            confirmed = await self._confirm(version)
            return await self._engine.load(Order(confirmed, self._owners[key].keys()))
        finally:
            del self._owners[key]
