"""The models that one principal has loaded at once, in this process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gateway.auth.limits.refusals import refuse

if TYPE_CHECKING:
    from gateway.auth.principal import Principal
    from gateway.settings import CurrentSettings
    from workers.metrics import Counters

MAX_LOADS: Final = 2
_RETRY_SECONDS: Final = 5.0


def owner_of_loads(principal: Principal | None) -> str | None:
    """Return the name for which the loads of a principal count.

    It is None for those of the gateway itself, and of callers who are not asked who they are.
    """
    return None if principal is None or principal.source == "none" else str(principal)


class LoadSlot:
    """A load that counts for its principal until it is released."""

    __slots__ = ("_loads", "_name")

    def __init__(self, loads: PrincipalLoads | None, name: str) -> None:
        """None counts nothing."""
        self._loads = loads
        self._name = name

    def release(self) -> None:
        """Let the next load of the principal begin; a second call changes nothing."""
        if self._loads is not None:
            self._loads.release(self._name)
            self._loads = None


UNCOUNTED: Final = LoadSlot(None, "")
"""The slot of a load that no principal caused."""


class PrincipalLoads:
    """A limiter of loads at once by principal, so that none can have all models evicted in a moment.

    Further loads wait in order, as long as a request may take. Principals without loads take no memory.
    """

    def __init__(self, settings: CurrentSettings, *, counters: Counters, max_loads: int = MAX_LOADS) -> None:
        self._settings = settings
        self._counters = counters
        self._max_loads = max_loads
        self._running: dict[str, int] = {}
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    def __len__(self) -> int:
        """Return how many principals have loads that run or wait."""
        return len(self._running.keys() | self._waiting.keys())

    async def take(self, principal: Principal | None) -> LoadSlot:
        """Wait for a slot for one more load of a principal; raise LimitExceeded if none is free in time.

        Loads of the gateway itself, and of callers who are not asked who they are, have no limit.
        """
        name = owner_of_loads(principal)
        if principal is None or name is None:
            return UNCOUNTED
        if self._running.get(name, 0) < self._max_loads:
            self._running[name] = self._running.get(name, 0) + 1
            return LoadSlot(self, name)
        try:
            async with asyncio.timeout(self._settings.value.request_timeout_seconds):
                await self._wait(name)
        except TimeoutError as error:
            raise refuse(
                "loads",
                f"{self._max_loads} other models are being loaded for this caller, and none is ready yet.",
                principal=principal,
                counters=self._counters,
                wait_seconds=_RETRY_SECONDS,
            ) from error
        return LoadSlot(self, name)

    def release(self, name: str) -> None:
        """Hand a principal's slot to the load that has waited longest, or free it."""
        for turn in self._waiting.get(name, ()):
            if not turn.done():
                turn.set_result(None)
                return
        self._running[name] -= 1
        if not self._running[name]:
            del self._running[name]

    async def _wait(self, name: str) -> None:
        """Wait until a slot of the principal is handed over."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, []).append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.release(name)  # it was handed over in the moment of the cancellation
            raise
        finally:
            self._forget(name, turn)

    def _forget(self, name: str, turn: asyncio.Future[None]) -> None:
        self._waiting[name].remove(turn)
        if not self._waiting[name]:
            del self._waiting[name]
