"""The cache's bounds: on disk, in memory, and who gives way."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from gateway.errors import BadUpstreamResponse, CacheFull
from tests.gateway.artifacts.conftest import key

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateway.artifacts.conftest import House

MIB = 2**20


async def test_the_least_recently_used_model_gives_way(house: House) -> None:
    """Of three models the one that was leased longest ago is removed for a fourth, and no other."""
    house.max_bytes = 350_000
    for name in "abcd":
        house.shelf.model(name, size=100_000)
    cache = await house.cache()
    for name in ("a", "b", "c", "a", "d"):
        await house.fetch(cache, name)
    for name in ("a", "c", "d"):
        await house.fetch(cache, name)
    assert [house.shelf.fetched[f"{name}/data/model.bin"] for name in "abcd"] == [1, 1, 1, 1]
    assert len(house.models()) == 3
    await house.fetch(cache, "b")
    assert house.shelf.fetched["b/data/model.bin"] == 2


async def test_a_leased_model_stays(house: House) -> None:
    """With everything on lease there is no room, and that is said; once given back there is."""
    house.max_bytes = 250_000
    for name in "abc":
        house.shelf.model(name, size=100_000)
    cache = await house.cache()
    async with AsyncExitStack() as leases:
        folders = [await leases.enter_async_context(house.lease(cache, name)) for name in "ab"]
        with pytest.raises(CacheFull, match="GATEWAY_CACHE_MAX_BYTES"):
            await house.fetch(cache, "c")
        assert all((folder / "data" / "model.bin").is_file() for folder in folders)
    await house.fetch(cache, "c")
    assert house.leftovers() == []


@pytest.mark.parametrize("told", [True, False])
async def test_a_model_larger_than_the_cache_is_refused(house: House, *, told: bool) -> None:
    """At once where the store tells the size, else at the bound; nothing is left, nothing is removed."""
    house.max_bytes = 3 * MIB
    house.shelf.model("small", size=1000)
    house.shelf.model("large", size=4 * MIB)
    if not told:
        house.shelf.listed_sizes["large/data/model.bin"] = None
    cache = await house.cache()
    await house.fetch(cache, "small")
    with pytest.raises(CacheFull, match="larger than the artifact cache"):
        await house.fetch(cache, "large")
    assert house.shelf.fetched["large/data/model.bin"] == (0 if told else 1)
    assert house.leftovers() == []
    await house.fetch(cache, "small")
    assert house.shelf.fetched["small/data/model.bin"] == 1


async def test_a_size_that_was_not_told_counts_in_the_end(house: House) -> None:
    """A model of unknown size makes room for itself before it takes its place."""
    house.max_bytes = 250_000
    for name in "abc":
        house.shelf.model(name, size=100_000)
    house.shelf.listed_sizes["c/data/model.bin"] = None
    cache = await house.cache()
    for name in "abc":
        await house.fetch(cache, name)
    assert len(house.models()) == 2


async def test_a_download_in_progress_counts(house: House) -> None:
    """What is on its way has its room set aside: no other model takes it, from whichever process."""
    house.max_bytes = 150_000
    for name in "ab":
        house.shelf.model(name, size=100_000)
    gate = house.shelf.gate("a/data/model.bin")
    first, second = await house.cache(), await house.cache()
    asker = asyncio.create_task(house.fetch(first, "a"))
    await gate.reached.wait()
    for cache in (first, second):
        with pytest.raises(CacheFull):
            await house.fetch(cache, "b")
    assert house.shelf.fetched["b/data/model.bin"] == 0
    gate.open.set()
    assert (await asker / "MLmodel").is_file()


async def test_a_full_disk_is_told_and_leaves_nothing(house: House, small_disk: Path) -> None:
    """No space left: CacheFull naming the setting, no half model, and a small one still fits."""
    house.folder = small_disk / "cache"
    house.shelf.model("large", size=5 * MIB)
    house.shelf.model("small", size=1000)
    cache = await house.cache()
    with pytest.raises(CacheFull, match="GATEWAY_CACHE_DIR"):
        await house.fetch(cache, "large")
    assert house.leftovers() == []
    assert (await house.fetch(cache, "small") / "MLmodel").is_file()
    await cache.close()


@pytest.mark.parametrize("told", [True, False])
async def test_cached_models_give_way_on_a_full_disk(house: House, small_disk: Path, *, told: bool) -> None:
    """Whatever the cache may hold: the least recently used goes, also where only writing shows the need."""
    house.folder = small_disk / "cache"
    for name in "abc":
        house.shelf.model(name, size=600_000)
    house.shelf.model("d", size=1_300_000)
    if not told:
        house.shelf.listed_sizes["d/data/model.bin"] = None
    cache = await house.cache()
    for name in "abc":
        await house.fetch(cache, name)
    async with house.lease(cache, "a") as folder:
        assert (await house.fetch(cache, "d") / "data" / "model.bin").stat().st_size == 1_300_000
        assert (folder / "data" / "model.bin").is_file()
        assert len(house.models()) == 2
        async with house.lease(cache, "d"):
            with pytest.raises(CacheFull, match="full"):
                await house.fetch(cache, "b")
        assert house.leftovers() == []
    await cache.close()


async def test_a_fetch_that_failed_is_left_alone_for_a_moment(house: House) -> None:
    """Who asks meanwhile gets the same error, and the store is not asked; then it is."""
    house.rest = 0.5
    house.shelf.model("wine")
    house.shelf.status["wine/data/model.bin"] = 500
    cache = await house.cache()
    for _ in range(20):
        with pytest.raises(BadUpstreamResponse):
            await house.fetch(cache, "wine")
    assert house.shelf.fetched["wine/data/model.bin"] <= 2
    del house.shelf.status["wine/data/model.bin"]
    await asyncio.sleep(0.6)
    assert (await house.fetch(cache, "wine") / "MLmodel").is_file()


async def test_a_large_model_does_not_sit_in_memory(house: House) -> None:
    """200 MiB pass through a process whose memory grows by less than 40 MiB."""
    house.shelf.model("large", size=200 * MIB)
    async with house.other_process("large") as other:
        told = await other.leased()
        assert os.stat(f"{told['folder']}/data/model.bin").st_size == 200 * MIB  # noqa: PTH116 - one call, no loop blocked for long
        assert told["grown"] < 40 * MIB
        await other.release()


async def test_the_key_not_the_name_decides(house: House) -> None:
    """A model of the same name and version, made anew, has a folder of its own."""
    house.shelf.model("wine")
    cache = await house.cache()
    first = await house.fetch(cache, "wine")
    other = key("wine").__class__("wine", "1", "made anew")
    async with cache.lease(other, house.locate("wine")) as second:
        assert second != first
