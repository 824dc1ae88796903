"""Answers kept for seconds, refreshed behind the request, and kept on while nobody can be asked."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Generic, TypeVar

from gateway.concurrency.singleflight import SingleFlight, SingleFlightClosed
from gateway.errors import BadUpstreamResponse, GatewayError, UpstreamTimeout, UpstreamUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable
    from typing import Any

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")

REFRESH_AHEAD_FACTOR = 0.75
"""The part of its time after which an answer that is in use is refreshed behind the request."""

_UPSTREAM_ERRORS = (UpstreamUnavailable, UpstreamTimeout, BadUpstreamResponse)
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Entry(Generic[V]):
    value: V
    requested_at: float
    lookup_seconds: float
    retry_at: float = 0.0

    def lifetime(self, ttl: float) -> float:
        """Seconds from the question for which it is fresh: a slow server is not asked all the time."""
        return max(ttl, 2 * self.lookup_seconds) if ttl else 0.0

    def to_stale(self) -> CachedValue[V]:
        """The answer, beyond its time."""
        return CachedValue(self.value, stale=True, age=monotonic() - self.requested_at)


@dataclass(frozen=True, slots=True)
class CachedValue(Generic[V]):
    """A value, and whether it is older than its time because nobody could be asked again.

    `age` is how many seconds ago it was asked for, told of stale ones only.
    """

    value: V
    stale: bool = False
    age: float = field(default=0.0, compare=False)


class StaleWhileRevalidateCache(Generic[K, V]):
    """What `lookup` answered, per key, for `ttl` seconds; the least recently used goes first.

    A lookup that took more than half of that is followed by at least as long a pause.
    An older answer is given only where the lookup fails upstream, or has not ended `patience`
    seconds after its beginning: who asks later than that does not wait at all. Every other failure
    forgets the answer. After a failed lookup the key rests for `rest` seconds, so that a server in
    trouble is not asked by every request. Where nothing is known, an asker waits `longest` seconds,
    while the lookup goes on; of lookups at once there are `many` at most. Both raise UpstreamAway.
    """

    def __init__(
        self,
        lookup: Callable[[K], Coroutine[Any, Any, V]],
        *,
        ttl: float,
        max_entries: int = 10_000,
        refresh_timeout: float = 1.0,
        retry_delay: float = 1.0,
        lookup_timeout: float = 10.0,
        max_lookups: int = 1000,
    ) -> None:
        self._lookup = lookup
        self._ttl = ttl
        self._max_entries = max_entries
        self._refresh_timeout = refresh_timeout
        self._retry_delay = retry_delay
        self._lookup_timeout = lookup_timeout
        self._max_lookups = max_lookups
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._single_flight: SingleFlight[K] = SingleFlight()
        self._refreshing: dict[K, asyncio.Task[None]] = {}
        self._lookup_started: dict[K, float] = {}

    def change(self, *, ttl: float) -> None:
        """Have another time from now on, for what is known already too."""
        self._ttl = ttl

    def get_fresh(self, key: K) -> V | None:
        """The answer within its time, without waiting; one about to end is refreshed meanwhile."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        now = monotonic()
        age, life = now - entry.requested_at, entry.lifetime(self._ttl)
        if age >= life:
            return None
        self._entries.move_to_end(key)
        if age >= life * REFRESH_AHEAD_FACTOR and now >= entry.retry_at:
            self._start_refresh(key)
        return entry.value

    async def get(self, key: K) -> CachedValue[V]:
        """The answer, looked up by one for all who ask now where it is not fresh."""
        value = self.get_fresh(key)
        if value is not None:
            return CachedValue(value)
        entry = self._entries.get(key)
        if entry is None:
            return CachedValue(await self._get_missing(key))
        patience = self._remaining_wait(key)
        if monotonic() < entry.retry_at or (patience is not None and patience <= 0):
            return entry.to_stale()
        try:
            async with asyncio.timeout(patience):
                return CachedValue(await self._look_up_once(key))
        except (*_UPSTREAM_ERRORS, TimeoutError):
            return entry.to_stale()

    async def close(self) -> None:
        """End the lookups that run."""
        tasks = list(self._refreshing.values())
        await self._single_flight.close()
        if tasks:
            await asyncio.wait(tasks)

    def _remaining_wait(self, key: K) -> float | None:
        """How long an asker waits for the lookup that runs or begins; None: to its end."""
        if not self._ttl:
            return None
        now = monotonic()
        return self._lookup_started.get(key, now) + self._refresh_timeout - now

    async def _get_missing(self, key: K) -> V:
        if len(self._lookup_started) >= self._max_lookups and key not in self._lookup_started:
            raise UpstreamUnavailable("Too many questions wait for MLflow.")
        try:
            async with asyncio.timeout(self._lookup_timeout):
                return await self._look_up_once(key)
        except TimeoutError as error:
            raise UpstreamUnavailable(
                "MLflow has not yet said which version this is, and is still asked."
            ) from error

    async def _look_up_once(self, key: K) -> V:
        return await self._single_flight.do(key, lambda: self._look_up(key))

    async def _look_up(self, key: K) -> V:
        asked = self._lookup_started[key] = monotonic()
        try:
            value = await self._lookup(key)
        except _UPSTREAM_ERRORS:
            if key in self._entries:
                self._entries[key].retry_at = monotonic() + self._retry_delay
            raise
        except GatewayError:
            self._entries.pop(key, None)
            raise
        finally:
            del self._lookup_started[key]
        self._entries[key] = _Entry(value, asked, monotonic() - asked)
        self._entries.move_to_end(key)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)
        return value

    def _start_refresh(self, key: K) -> None:
        if key not in self._refreshing:
            task = asyncio.create_task(self._refresh_quietly(key))
            self._refreshing[key] = task
            task.add_done_callback(lambda _: self._refreshing.pop(key, None))

    async def _refresh_quietly(self, key: K) -> None:
        try:
            await self._look_up_once(key)
        except (GatewayError, SingleFlightClosed) as error:
            # Who asks next meets the same; the answer in memory has its time until then.
            logger.debug("refreshing %s failed: %s", key, error)
