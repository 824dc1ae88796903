"""A cache of lookups that refreshes entries in the background and keeps old ones while lookups fail."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Generic, TypeVar

from gateway.concurrency.singleflight import SingleFlight, SingleFlightClosed
from gateway.domain.refs import format_ref
from gateway.errors import BadUpstreamResponse, GatewayError, UpstreamTimeout, UpstreamUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable
    from typing import Any

    from gateway.domain.refs import ModelRef

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")

REFRESH_AHEAD_FACTOR = 0.75
"""The part of an entry's lifetime after which the next use of it starts a refresh."""

_MIN_LARGE_ENTRIES = 4  # an entry that leaves room for fewer is not kept
_UPSTREAM_ERRORS = (UpstreamUnavailable, UpstreamTimeout, BadUpstreamResponse)
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Entry(Generic[V]):
    value: V
    requested_at: float
    lookup_seconds: float
    size: int
    retry_at: float = 0.0

    def lifetime(self, ttl: float) -> float:
        """Return the seconds for which the value is fresh; a slow lookup makes it longer than `ttl`."""
        return max(ttl, 2 * self.lookup_seconds) if ttl else 0.0


@dataclass(frozen=True, slots=True)
class CachedValue(Generic[V]):
    """A value; `stale` if it is past its lifetime and could not be looked up again.

    `age` is the number of seconds since the lookup of a stale value began, 0 for a fresh value.
    """

    value: V
    stale: bool = False
    age: float = field(default=0.0, compare=False)


class StaleWhileRevalidateCache(Generic[K, V]):
    """A least-recently-used cache of what `lookup` returned, fresh for `ttl()` seconds.

    It holds at most `max_entries` values, of at most `max_bytes` together by `size`.

    A value whose lookup took more than half of that stays fresh for twice the lookup's time. A value past
    its lifetime is returned, as stale, only if its new lookup fails upstream or has not ended
    `refresh_timeout` seconds after its start. A caller that comes later than that does not wait. Any other
    failure of a lookup removes the entry. After a failed lookup the key is not looked up again for
    `retry_delay` seconds.

    Without an entry, a caller waits for at most `lookup_timeout` seconds, and at most `max_lookups`
    lookups run at once. Beyond either limit `get` raises UpstreamUnavailable, of the first with
    the text `pending`; the lookup goes on.
    """

    def __init__(
        self,
        lookup: Callable[[K], Coroutine[Any, Any, V]],
        *,
        ttl: Callable[[], float],
        max_entries: int = 10_000,
        max_bytes: int = 2**62,
        size: Callable[[V], int] = lambda _: 0,
        refresh_timeout: float = 1.0,
        retry_delay: float = 1.0,
        lookup_timeout: float = 10.0,
        max_lookups: int = 1000,
        pending: str = "MLflow has not yet answered which version this is; the lookup continues.",
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._lookup = lookup
        self._ttl = ttl
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._size = size
        self._total_bytes = 0
        self._refresh_timeout = refresh_timeout
        self._retry_delay = retry_delay
        self._lookup_timeout = lookup_timeout
        self._max_lookups = max_lookups
        self._pending = pending
        self._clock = clock
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._single_flight: SingleFlight[K] = SingleFlight()
        self._refreshing: dict[K, asyncio.Task[None]] = {}
        self._lookup_started: dict[K, float] = {}

    def get_fresh(self, key: K) -> V | None:
        """Return the value if it is fresh, without waiting; start a refresh near the end of its lifetime."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        now = self._clock()
        age, lifetime = now - entry.requested_at, entry.lifetime(self._ttl())
        if age >= lifetime:
            return None
        self._entries.move_to_end(key)
        if age >= lifetime * REFRESH_AHEAD_FACTOR and now >= entry.retry_at:
            self._start_refresh(key)
        return entry.value

    async def get(self, key: K) -> CachedValue[V]:
        """Return the value; look it up if it is not fresh, once for all concurrent callers."""
        value = self.get_fresh(key)
        if value is not None:
            return CachedValue(value)
        entry = self._entries.get(key)
        if entry is None:
            return CachedValue(await self._get_missing(key))
        wait = self._remaining_wait(key)
        if self._clock() < entry.retry_at or (wait is not None and wait <= 0):
            return self._to_stale(entry)
        try:
            async with asyncio.timeout(wait):
                return CachedValue(await self._look_up_once(key))
        except (*_UPSTREAM_ERRORS, TimeoutError):
            return self._to_stale(entry)

    async def close(self) -> None:
        """Cancel the running lookups and wait for their end."""
        tasks = list(self._refreshing.values())
        await self._single_flight.close()
        if tasks:
            await asyncio.wait(tasks)

    def _to_stale(self, entry: _Entry[V]) -> CachedValue[V]:
        return CachedValue(entry.value, stale=True, age=self._clock() - entry.requested_at)

    def _remaining_wait(self, key: K) -> float | None:
        """Return the seconds a caller may wait for the lookup; None without limit, if nothing is cached."""
        if not self._ttl():
            return None
        now = self._clock()
        return self._lookup_started.get(key, now) + self._refresh_timeout - now

    async def _get_missing(self, key: K) -> V:
        if len(self._lookup_started) >= self._max_lookups and key not in self._lookup_started:
            raise UpstreamUnavailable("Too many requests are waiting for MLflow.")
        try:
            async with asyncio.timeout(self._lookup_timeout):
                return await self._look_up_once(key)
        except TimeoutError as error:
            raise UpstreamUnavailable(self._pending) from error

    async def _look_up_once(self, key: K) -> V:
        return await self._single_flight.do(key, lambda: self._look_up(key))

    async def _look_up(self, key: K) -> V:
        started = self._lookup_started[key] = self._clock()
        try:
            value = await self._lookup(key)
        except _UPSTREAM_ERRORS:
            if key in self._entries:
                self._entries[key].retry_at = self._clock() + self._retry_delay
            raise
        except GatewayError:
            self._remove(key)
            raise
        finally:
            del self._lookup_started[key]
        self._store(key, _Entry(value, started, self._clock() - started, self._size(value)))
        return value

    def _store(self, key: K, entry: _Entry[V]) -> None:
        self._remove(key)
        if entry.size > self._max_bytes // _MIN_LARGE_ENTRIES:
            return  # the others are worth more than one
        self._entries[key] = entry
        self._total_bytes += entry.size
        while len(self._entries) > self._max_entries or self._total_bytes > self._max_bytes:
            self._remove(next(iter(self._entries)))

    def _remove(self, key: K) -> None:
        if (entry := self._entries.pop(key, None)) is not None:
            self._total_bytes -= entry.size

    def _start_refresh(self, key: K) -> None:
        if key not in self._refreshing:
            task = asyncio.create_task(self._refresh_quietly(key), name=f"refresh {key}")
            self._refreshing[key] = task
            task.add_done_callback(lambda _: self._refreshing.pop(key, None))

    async def _refresh_quietly(self, key: K) -> None:
        try:
            await self._look_up_once(key)
        except (GatewayError, SingleFlightClosed) as error:
            # The cached value stays fresh until its lifetime ends; the next lookup raises the error.
            logger.debug("Refreshing %s failed: %s", key, error)


class StaleLog:
    """A log of periods in which requests got stale values: one line at the start, one at the end.

    A period is over when MLflow answers and no stale value was used for `quiet` seconds.
    """

    def __init__(self, *, quiet: float = 30.0, clock: Callable[[], float] = monotonic) -> None:
        self._quiet = quiet
        self._clock = clock
        self._count = 0
        self._first = self._last = 0.0

    def record_stale(self, ref: ModelRef, age: float) -> None:
        """Record that a request got a value that is `age` seconds old."""
        self._last = self._clock()
        self._count += 1
        if self._count == 1:
            self._first = self._last
            logger.warning(
                "MLflow is unavailable; serving cached resolutions (first: %s, %.0f s old)",
                format_ref(ref),
                age,
                extra={"event": "mlflow_unavailable", "model": format_ref(ref), "age_seconds": age},
            )

    def record_fresh(self) -> None:
        """Record that MLflow answered."""
        if self._count and self._clock() - self._last >= self._quiet:
            seconds = self._last - self._first
            logger.info(
                "MLflow has recovered: %d requests in %.0f s got cached resolutions",
                self._count,
                seconds,
                extra={"event": "mlflow_recovered", "requests": self._count, "seconds": seconds},
            )
            self._count = 0
