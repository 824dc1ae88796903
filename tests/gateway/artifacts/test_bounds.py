"""Proves the limits of the cache, on disk and in memory, and which model is evicted."""

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

    from gateway.artifacts.cache import ArtifactCache
    from tests.gateway.artifacts.conftest import CacheHarness

MIB = 2**20


async def test_the_least_recently_used_model_is_evicted(harness: CacheHarness) -> None:
    """A fourth model evicts the one of three whose last lease is the oldest, and no other."""
    harness.max_bytes = 350_000
    for name in "abcd":
        harness.server.add_model(name, size=100_000)
    cache = await harness.open_cache()
    for name in ("a", "b", "c", "a", "d"):
        await harness.fetch(cache, name)
    for name in ("a", "c", "d"):
        await harness.fetch(cache, name)
    assert [harness.server.downloads[f"{name}/data/model.bin"] for name in "abcd"] == [1, 1, 1, 1]
    assert len(harness.models()) == 3
    await harness.fetch(cache, "b")
    assert harness.server.downloads["b/data/model.bin"] == 2


async def test_a_leased_model_stays(harness: CacheHarness) -> None:
    """If all models are leased, a new one is rejected; after their release it fits."""
    harness.max_bytes = 250_000
    for name in "abc":
        harness.server.add_model(name, size=100_000)
    cache = await harness.open_cache()
    async with AsyncExitStack() as leases:
        folders = [await leases.enter_async_context(harness.lease(cache, name)) for name in "ab"]
        with pytest.raises(CacheFull, match="GATEWAY_CACHE_MAX_BYTES"):
            await harness.fetch(cache, "c")
        assert all((folder / "data" / "model.bin").is_file() for folder in folders)
    await harness.fetch(cache, "c")
    assert harness.partial_files() == []


@pytest.mark.parametrize("size_is_listed", [True, False])
async def test_a_model_larger_than_the_cache_is_rejected(
    harness: CacheHarness, *, size_is_listed: bool
) -> None:
    """At once if the store lists the size, else at the limit; nothing is left behind or evicted."""
    harness.max_bytes = 3 * MIB
    harness.server.add_model("small", size=1000)
    harness.server.add_model("large", size=4 * MIB)
    if not size_is_listed:
        harness.server.listed_sizes["large/data/model.bin"] = None
    cache = await harness.open_cache()
    await harness.fetch(cache, "small")
    with pytest.raises(CacheFull, match="larger than the artifact cache"):
        await harness.fetch(cache, "large")
    assert harness.server.downloads["large/data/model.bin"] == (0 if size_is_listed else 1)
    assert harness.partial_files() == []
    await harness.fetch(cache, "small")
    assert harness.server.downloads["small/data/model.bin"] == 1


async def test_a_size_that_is_not_listed_counts_after_the_download(harness: CacheHarness) -> None:
    """A model of unknown size evicts others before it is published."""
    harness.max_bytes = 250_000
    for name in "abc":
        harness.server.add_model(name, size=100_000)
    harness.server.listed_sizes["c/data/model.bin"] = None
    cache = await harness.open_cache()
    for name in "abc":
        await harness.fetch(cache, name)
    assert len(harness.models()) == 2


async def test_a_download_in_progress_counts(harness: CacheHarness) -> None:
    """Its bytes are reserved: no other model takes them, neither in this cache nor in another process'."""
    harness.max_bytes = 150_000
    for name in "ab":
        harness.server.add_model(name, size=100_000)
    gate = harness.server.add_gate("a/data/model.bin")
    first, second = await harness.open_cache(), await harness.open_cache()
    task = asyncio.create_task(harness.fetch(first, "a"))
    await gate.reached.wait()
    for cache in (first, second):
        with pytest.raises(CacheFull):
            await harness.fetch(cache, "b")
    assert harness.server.downloads["b/data/model.bin"] == 0
    gate.open.set()
    assert (await task / "MLmodel").is_file()


async def test_a_full_disk_is_an_error_and_leaves_nothing(harness: CacheHarness, small_disk: Path) -> None:
    """The error is CacheFull with the setting's name; no partial files are left, and a small model fits."""
    harness.folder = small_disk / "cache"
    harness.server.add_model("large", size=5 * MIB)
    harness.server.add_model("small", size=1000)
    cache = await harness.open_cache()
    with pytest.raises(CacheFull, match="GATEWAY_CACHE_DIR"):
        await harness.fetch(cache, "large")
    assert harness.partial_files() == []
    assert (await harness.fetch(cache, "small") / "MLmodel").is_file()
    await cache.close()


@pytest.mark.parametrize("size_is_listed", [True, False])
async def test_cached_models_are_evicted_on_a_full_disk(
    harness: CacheHarness, small_disk: Path, *, size_is_listed: bool
) -> None:
    """Within the cache's limit: the least recently used first, even if only writing shows the need."""
    harness.folder = small_disk / "cache"
    for name in "abc":
        harness.server.add_model(name, size=600_000)
    harness.server.add_model("d", size=1_300_000)
    if not size_is_listed:
        harness.server.listed_sizes["d/data/model.bin"] = None
    cache = await harness.open_cache()
    for name in "abc":
        await harness.fetch(cache, name)
    async with harness.lease(cache, "a") as folder:
        assert (await harness.fetch(cache, "d") / "data" / "model.bin").stat().st_size == 1_300_000
        assert (folder / "data" / "model.bin").is_file()
        assert len(harness.models()) == 2
        async with harness.lease(cache, "d"):
            with pytest.raises(CacheFull, match="full"):
                await harness.fetch(cache, "b")
        assert harness.partial_files() == []
    await cache.close()


async def test_a_failed_download_is_not_repeated_at_once(harness: CacheHarness) -> None:
    """During the backoff, requests get the same error without a call to the store; then it is called."""
    harness.backoff = 1.0
    harness.server.add_model("wine")
    harness.server.statuses["wine/data/model.bin"] = 500
    cache = await harness.open_cache()
    for _ in range(20):
        with pytest.raises(BadUpstreamResponse):
            await harness.fetch(cache, "wine")
    assert harness.server.downloads["wine/data/model.bin"] <= 2
    del harness.server.statuses["wine/data/model.bin"]
    async with asyncio.timeout(30):
        while not await _is_downloaded(harness, cache):  # noqa: ASYNC110 - the backoff ends without an event
            await asyncio.sleep(0.05)


async def _is_downloaded(harness: CacheHarness, cache: ArtifactCache) -> bool:
    try:
        return (await harness.fetch(cache, "wine") / "MLmodel").is_file()
    except BadUpstreamResponse:
        return False


@pytest.mark.serial
async def test_a_large_model_is_not_held_in_memory(harness: CacheHarness) -> None:
    """Measures the peak memory of a process: it downloads 200 MiB and grows by less than 40 MiB."""
    harness.server.add_model("large", size=200 * MIB)
    async with harness.other_process("large") as other:
        report = await other.wait_leased()
        assert os.stat(f"{report['folder']}/data/model.bin").st_size == 200 * MIB  # noqa: PTH116 - one call, no loop blocked for long
        assert report["memory_growth"] < 40 * MIB
        await other.release()


async def test_models_are_identified_by_their_key(harness: CacheHarness) -> None:
    """A model that was recreated with the same name and version has a folder of its own."""
    harness.server.add_model("wine")
    cache = await harness.open_cache()
    first = await harness.fetch(cache, "wine")
    other = key("wine").__class__("wine", "1", "recreated")
    async with cache.lease(other, harness.locate("wine")) as second:
        assert second != first
