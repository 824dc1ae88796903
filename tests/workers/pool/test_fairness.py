"""Proves that no owner can have the models of others evicted, and that room is still used by who wants it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from itertools import chain
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.conftest import Files, LiveLimits, key
from tests.workers.pool.calls import ADD, COMMANDS, command, running
from workers.errors import CapacityExceeded
from workers.metrics import MODEL_UNLOADS, Counters
from workers.pool.fairness import FairShare
from workers.pool.slots import LoadedEntry, ModelSlots

if TYPE_CHECKING:
    from collections.abc import Collection

    from tests.workers.pool.calls import Lookup, Opened
    from workers.pool.fairness import Shortage
    from workers.pool.pool import Pool
    from workers.protocol.messages import ModelKey


async def load_for(pool: Pool, files: Files, *owners: str | None) -> None:
    """Load a model for the first of these owners that may have it, unless it is loaded."""
    await load_for_growing(pool, files, owners)


async def load_for_growing(pool: Pool, files: Files, owners: Collection[str | None]) -> None:
    if not pool.is_loaded(files.key):
        async with AsyncExitStack() as stack, pool.reserve(files.key, owners=owners) as reservation:
            await reservation.load(await stack.enter_async_context(files()), stack)


async def use(pool: Pool, files: Lookup, name: str, owner: str | None) -> None:
    """Load a copy of `sums` for an owner, and have it predict, as the request that waited for it does."""
    await load_for(pool, Files(key(name), files("sums").folder), owner)
    await pool.predict(key(name), ADD)


def loaded(pool: Pool, *names: str) -> list[str]:
    return [name for name in names if pool.is_loaded(key(name))]


@pytest.mark.slow
async def test_a_caller_of_many_models_evicts_its_own(opened: Opened, files: Lookup) -> None:
    """One that asks for name after name, over and over, evicts no model of one within its share."""
    async with opened(max_loaded_models=4) as pool:
        for name in ("b0", "b1"):
            await use(pool, files, name, "b")
        for number in (*range(6), *range(6)):
            await use(pool, files, f"a{number}", "a")
            assert loaded(pool, "b0", "b1") == ["b0", "b1"]
        assert len(loaded(pool, *(f"a{number}" for number in range(6)))) == 2


@pytest.mark.slow
async def test_room_is_for_who_wants_it_until_another_does(opened: Opened, files: Lookup) -> None:
    """One owner alone uses all slots; others get their shares from it, however long ago theirs were used."""
    async with opened(max_loaded_models=4) as pool:
        for number in range(4):
            await use(pool, files, f"a{number}", "a")
        assert len(loaded(pool, "a0", "a1", "a2", "a3")) == 4
        await use(pool, files, "b0", "b")
        await use(pool, files, "b1", "b")
        assert loaded(pool, "a0", "a1", "a2", "a3", "b0", "b1") == ["a2", "a3", "b0", "b1"]
        await use(pool, files, "b2", "b")
        await use(pool, files, "c0", "c")
        names = ["a2", "a3", "b0", "b1", "b2", "c0"]
        assert loaded(pool, *names) in (["a3", "b1", "b2", "c0"], ["a2", "a3", "b2", "c0"])


async def test_without_owners_the_least_recently_used_goes(opened: Opened, files: Lookup) -> None:
    """Where callers are not asked who they are, and for the gateway's own loads, it is as without shares."""
    async with opened(max_loaded_models=2) as pool:
        for name, owner in (("x0", None), ("x1", None), ("x2", None), ("a0", "a"), ("x3", None)):
            await use(pool, files, name, owner)
        assert loaded(pool, "x0", "x1", "x2", "a0", "x3") == ["a0", "x3"]


async def test_one_whose_models_are_all_busy_waits_for_them(opened: Opened, files: Lookup) -> None:
    """It evicts no idle one of another: then keeping its own busy would be the way to have all."""
    limits = LiveLimits(max_loaded_models=2)
    async with opened(limits) as pool:
        await use(pool, files, "b0", "b")
        await load_for(pool, files("commands"), "a")
        busy = asyncio.create_task(pool.predict(COMMANDS, command("sleep 2")))
        await running(pool)
        limits.set(max_loaded_models=2, request_seconds=0.2)
        with pytest.raises(CapacityExceeded):
            await load_for(pool, Files(key("a1"), files("sums").folder), "a")
        assert loaded(pool, "b0") == ["b0"]
        await busy


async def test_one_within_its_share_gets_the_slot_of_a_busy_model(opened: Opened, files: Lookup) -> None:
    """An owner beyond its share cannot keep the slots by being busy; what is running is answered."""
    async with opened(max_loaded_models=2) as pool:
        await use(pool, files, "a0", "a")
        await load_for(pool, files("commands"), "a")
        for name in ("a0", "commands"):
            pool._slots.loaded[key(name)].protected_until = 0.0
        busy = [asyncio.create_task(pool.predict(COMMANDS, command("sleep 1"))) for _ in range(2)]
        await running(pool)
        pool.pin(key("a0"))
        await use(pool, files, "p0", "b")
        assert not pool.is_loaded(COMMANDS)
        assert loaded(pool, "a0", "p0") == ["a0", "p0"]
        assert len(await asyncio.gather(*busy)) == 2
        assert pool.counters.value(MODEL_UNLOADS, "commands", "1", "capacity") == 1


async def test_one_that_joins_a_load_need_not_wait_for_anothers_share(opened: Opened, files: Lookup) -> None:
    """A load that waits because its first caller has its share goes on for a second one who has not."""
    async with opened(max_loaded_models=2) as pool:
        await use(pool, files, "b0", "b")
        await load_for(pool, files("commands"), "a")
        busy = asyncio.create_task(pool.predict(COMMANDS, command("sleep 2")))
        await running(pool)
        owners: dict[str | None, None] = {"a": None}
        load = load_for_growing(pool, Files(key("wanted"), files("sums").folder), owners.keys())
        waiting = asyncio.create_task(load)
        await asyncio.sleep(0.1)
        assert not waiting.done()
        owners["c"] = None
        pool.notify_owners_changed()
        await waiting
        assert pool._slots.owner(key("wanted")) == "c"
        await busy


LOADS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", None]), st.integers(0, 8), st.booleans(), st.integers(1, 9)),
    min_size=1,
    max_size=80,
)


class Books:
    """Slots, and a share of slots or of memory, with models that are only figures."""

    def __init__(self, most: int, shortage: Shortage) -> None:
        self.slots = ModelSlots(Counters())
        self.sizes: dict[ModelKey, int] = {}
        self.most, self.shortage = most, shortage
        budget: Any = SimpleNamespace(available_bytes=most * 5, estimated_bytes=self.sizes.__getitem__)
        self.share = FairShare(LiveLimits(max_loaded_models=most), self.slots, budget=budget)

    def load(self, wanted: ModelKey, owner: str | None, *, busy: bool, now: int) -> None:
        """Load a model, after the eviction of another if all slots are taken, and if one may be evicted."""
        victims = self.share.victims(wanted, owner, shortage=self.shortage)
        for each in set(chain(*victims)):
            self.check(wanted, owner, each)
        if len(self.slots.loaded) >= self.most:
            victim = self.slots.least_recently_used(next(filter(None, victims), ()))
            if victim is None:
                return
            del self.slots.loaded[victim]
        self.slots.reserve(wanted, owner)
        dispatcher = SimpleNamespace(busy=busy, last_used=now)
        group: Any = SimpleNamespace(dispatcher=dispatcher, memory_bytes=self.sizes[wanted])
        self.slots.commit(wanted, LoadedEntry(group, AsyncExitStack(), 0.0))

    def check(self, wanted: ModelKey, owner: str | None, victim: ModelKey) -> None:
        """Fail if the load may take from another one within its share, and would be beyond its own."""
        other = self.slots.owner(victim)
        names = {name for name in (owner, *map(self.slots.owner, self.slots.loaded)) if name is not None}
        if owner is None or other in {None, owner} or len(names) < 2:
            return
        own = [each for each in self.slots.loaded if self.slots.owner(each) == owner]
        whole = self.most if self.shortage == "capacity" else self.most * 5
        greedy = self.used(own) + self.used([wanted]) > max(whole / len(names), 1)
        theirs = [each for each in self.slots.loaded if self.slots.owner(each) == other]
        if greedy and self.used(theirs) <= max(whole / len(names), 1):
            assert not any(self.slots.loaded[each].group.dispatcher.busy for each in own)
            first = self.share.victims(wanted, owner, shortage=self.shortage)[0]
            assert set(first) == set(own)

    def used(self, keys: Collection[ModelKey]) -> int:
        return len(keys) if self.shortage == "capacity" else sum(self.sizes[each] for each in keys)


@given(LOADS, st.integers(2, 9), st.sampled_from(["capacity", "memory"]))
def test_no_sequence_of_loads_takes_from_one_within_its_share(
    loads: list[tuple[str | None, int, bool, int]], most: int, shortage: Shortage
) -> None:
    """Any load, however large and busy: victims are the loader's own, or of owners beyond their shares.

    The exceptions are loads without an owner, and an owner that has given all that it had.
    """

    async def run() -> None:
        books = Books(most, shortage)
        for now, (owner, number, busy, size) in enumerate(loads):
            wanted = key(f"{owner} {number}")
            if wanted not in books.slots.loaded:
                books.sizes[wanted] = size
                books.load(wanted, owner, busy=busy, now=now)

    asyncio.run(run())
