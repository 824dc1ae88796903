"""Which models may be evicted for whom, so that one owner cannot have those of all others evicted."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from workers.limits import PoolLimits
    from workers.pool.memory_budget import MemoryBudget
    from workers.pool.slots import ModelSlots
    from workers.protocol.messages import ModelKey

Shortage = Literal["capacity", "memory"]


class FairShare:
    """A choice of models to evict, by equal shares for the owners of all that take slots.

    An owner is the name of a caller whose request caused a load; None owns nothing. While there is room, an
    owner may use more than its share. If there is none, owners beyond their shares give theirs first. An
    owner that would be beyond its own share gives its own, and never takes from one within its share. A load
    without an owner, and each load while there are fewer than two owners, may have any model evicted.
    """

    def __init__(self, limits: Callable[[], PoolLimits], slots: ModelSlots, *, budget: MemoryBudget) -> None:
        self._limits = limits
        self._slots = slots
        self._budget = budget

    def owner(self, key: ModelKey, owners: Collection[str | None], *, shortage: Shortage) -> str | None:
        """Return for which of those that wait for `key` it is loaded: one who stays within its share."""
        if None in owners or not owners:
            return None
        shares = {owner: self._shares(key, owner, shortage) for owner in owners}
        within = (owner for owner, each in shares.items() if each is None or not each.would_be_over(owner))
        return next(within, next(iter(owners)))

    def victims(self, key: ModelKey, owner: str | None, *, shortage: Shortage) -> list[list[ModelKey]]:
        """Return the models that may be evicted to load `key` for `owner`, in groups, first ones first."""
        evictable = self._slots.evictable()
        shares = self._shares(key, owner, shortage)
        if shares is None:
            return [evictable]
        over = [each for each in evictable if shares.is_over(self._slots.owner(each))]
        if not shares.would_be_over(owner):
            unowned = [each for each in evictable if self._slots.owner(each) is None]
            return [over, unowned if shares.any_over else evictable]
        own = [each for each in evictable if self._slots.owner(each) == owner]
        if len(own) == shares.models(owner):  # with nothing left, it may take one from anybody
            return [own, over, evictable]
        return [own, over]

    def busy_victims(self, key: ModelKey, owner: str | None, *, shortage: Shortage) -> list[ModelKey]:
        """Return busy models of owners beyond their shares, if `owner` would stay within its own."""
        shares = self._shares(key, owner, shortage)
        if shares is None or shares.would_be_over(owner):
            return []
        return [each for each in self._slots.unprotected() if shares.is_over(self._slots.owner(each))]

    def surplus(self) -> list[ModelKey]:
        """Return the evictable models of owners beyond their shares of memory, or else all of them."""
        evictable, shares = self._slots.evictable(), self._shares(None, None, "memory")
        if shares is None:
            return evictable
        return [each for each in evictable if shares.is_over(self._slots.owner(each))] or evictable

    def _shares(self, key: ModelKey | None, owner: str | None, shortage: Shortage) -> _Shares | None:
        """Return the shares, or None if a load of `key` for `owner` needs to respect none."""
        slots, pinned = self._slots, self._slots.pinned
        owners = {each: slots.owner(each) for each in slots.versions() if each != key and each not in pinned}
        names = {name for name in (owner, *owners.values()) if name is not None}
        if len(names) < 2 or (owner is None and key is not None):
            return None
        if shortage == "capacity":
            slots_left = self._limits().max_loaded_models - len(pinned & slots.loaded.keys())
            return _Shares(owners, dict.fromkeys(owners, 1), share=max(1.0, slots_left / len(names)), need=1)
        bytes_left = (self._budget.available_bytes or 0) - sum(map(slots.memory_bytes, pinned))
        sizes = {each: slots.memory_bytes(each) or self._budget.estimated_bytes(each) for each in owners}
        need = 0 if key is None else self._budget.estimated_bytes(key)
        return _Shares(owners, sizes, share=max(0.0, bytes_left / len(names)), need=need)


class _Shares:
    """What each owner uses, in slots or bytes, beside the share of each, and what the next model needs."""

    def __init__(
        self,
        owners: Mapping[ModelKey, str | None],
        sizes: Mapping[ModelKey, int],
        *,
        share: float,
        need: int,
    ) -> None:
        self._models = Counter(owners.values())
        self._used: Counter[str | None] = Counter()
        for key, owner in owners.items():
            self._used[owner] += sizes[key]
        self._share = share
        self._need = need

    @property
    def any_over(self) -> bool:
        return any(map(self.is_over, self._used))

    def is_over(self, owner: str | None) -> bool:
        return owner is not None and self._used[owner] > self._share

    def would_be_over(self, owner: str | None) -> bool:
        return self._used[owner] + self._need > self._share

    def models(self, owner: str | None) -> int:
        return self._models[owner]
