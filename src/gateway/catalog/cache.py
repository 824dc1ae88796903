"""Answers kept for seconds, refreshed behind the request, and kept on while nobody can be asked."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Generic, TypeVar

from gateway.concurrency.singleflight import Once, OnceClosed
from gateway.errors import GatewayError, UpstreamAway, UpstreamSlow, UpstreamWrong

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable
    from typing import Any

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")

EARLY = 0.75
"""The part of its time after which an answer that is in use is refreshed behind the request."""

_DOWN = (UpstreamAway, UpstreamSlow, UpstreamWrong)
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Entry(Generic[V]):
    value: V
    asked: float
    took: float
    rest_until: float = 0.0

    def life(self, ttl: float) -> float:
        """Seconds from the question for which it is fresh: a slow server is not asked all the time."""
        return max(ttl, 2 * self.took) if ttl else 0.0

    def old(self) -> Answer[V]:
        """The answer, beyond its time."""
        return Answer(self.value, stale=True, age=monotonic() - self.asked)


@dataclass(frozen=True, slots=True)
class Answer(Generic[V]):
    """A value, and whether it is older than its time because nobody could be asked again.

    `age` is how many seconds ago it was asked for, told of stale ones only.
    """

    value: V
    stale: bool = False
    age: float = field(default=0.0, compare=False)


class Memory(Generic[K, V]):
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
        size: int = 10_000,
        patience: float = 1.0,
        rest: float = 1.0,
        longest: float = 10.0,
        many: int = 1000,
    ) -> None:
        self._lookup = lookup
        self._ttl = ttl
        self._size = size
        self._patience = patience
        self._rest = rest
        self._longest = longest
        self._many = many
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._once: Once[K] = Once()
        self._behind: dict[K, asyncio.Task[None]] = {}
        self._began: dict[K, float] = {}

    def change(self, *, ttl: float) -> None:
        """Have another time from now on, for what is known already too."""
        self._ttl = ttl

    def fresh(self, key: K) -> V | None:
        """The answer within its time, without waiting; one about to end is refreshed meanwhile."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        now = monotonic()
        age, life = now - entry.asked, entry.life(self._ttl)
        if age >= life:
            return None
        self._entries.move_to_end(key)
        if age >= life * EARLY and now >= entry.rest_until:
            self._refresh(key)
        return entry.value

    async def get(self, key: K) -> Answer[V]:
        """The answer, looked up by one for all who ask now where it is not fresh."""
        value = self.fresh(key)
        if value is not None:
            return Answer(value)
        entry = self._entries.get(key)
        if entry is None:
            return Answer(await self._first(key))
        patience = self._patience_left(key)
        if monotonic() < entry.rest_until or (patience is not None and patience <= 0):
            return entry.old()
        try:
            async with asyncio.timeout(patience):
                return Answer(await self._ask(key))
        except (*_DOWN, TimeoutError):
            return entry.old()

    async def close(self) -> None:
        """End the lookups that run."""
        tasks = list(self._behind.values())
        await self._once.close()
        if tasks:
            await asyncio.wait(tasks)

    def _patience_left(self, key: K) -> float | None:
        """How long an asker waits for the lookup that runs or begins; None: to its end."""
        if not self._ttl:
            return None
        now = monotonic()
        return self._began.get(key, now) + self._patience - now

    async def _first(self, key: K) -> V:
        if len(self._began) >= self._many and key not in self._began:
            raise UpstreamAway("Too many questions wait for MLflow.")
        try:
            async with asyncio.timeout(self._longest):
                return await self._ask(key)
        except TimeoutError as error:
            raise UpstreamAway(
                "MLflow has not yet said which version this is, and is still asked."
            ) from error

    async def _ask(self, key: K) -> V:
        return await self._once.do(key, lambda: self._looked_up(key))

    async def _looked_up(self, key: K) -> V:
        asked = self._began[key] = monotonic()
        try:
            value = await self._lookup(key)
        except _DOWN:
            if key in self._entries:
                self._entries[key].rest_until = monotonic() + self._rest
            raise
        except GatewayError:
            self._entries.pop(key, None)
            raise
        finally:
            del self._began[key]
        self._entries[key] = _Entry(value, asked, monotonic() - asked)
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)
        return value

    def _refresh(self, key: K) -> None:
        if key not in self._behind:
            task = asyncio.create_task(self._quietly(key))
            self._behind[key] = task
            task.add_done_callback(lambda _: self._behind.pop(key, None))

    async def _quietly(self, key: K) -> None:
        try:
            await self._ask(key)
        except (GatewayError, OnceClosed) as error:
            # Who asks next meets the same; the answer in memory has its time until then.
            logger.debug("refreshing %s failed: %s", key, error)
