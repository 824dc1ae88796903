"""Proves that several gateway processes can share one cache folder."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.errors import CacheFull

if TYPE_CHECKING:
    from tests.gateway.artifacts.conftest import CacheHarness


async def test_two_processes_share_one_download(harness: CacheHarness) -> None:
    """Both request the model; one downloads it, the other waits and uses the same files."""
    harness.server.add_model("wine", size=1_000_000)
    gate = harness.server.add_gate("wine/data/model.bin")
    async with AsyncExitStack() as stack:
        others = [await stack.enter_async_context(harness.other_process("wine")) for _ in range(2)]
        await gate.reached.wait()
        # No event shows that the other process waits; it may only be seen not to download.
        await asyncio.sleep(0.3)
        gate.open.set()
        folders = {(await other.wait_leased())["folder"] for other in others}
        for other in others:
            await other.release()
    assert len(folders) == 1
    assert harness.server.downloads["wine/data/model.bin"] == 1


async def test_a_model_leased_by_another_process_is_not_evicted(harness: CacheHarness) -> None:
    """After its release it can be evicted."""
    harness.max_bytes = 150_000
    harness.server.add_model("a", size=100_000)
    harness.server.add_model("b", size=100_000)
    cache = await harness.open_cache()
    async with harness.other_process("a") as other:
        folder = Path((await other.wait_leased())["folder"])
        with pytest.raises(CacheFull):
            await harness.fetch(cache, "b")
        assert (folder / "data" / "model.bin").is_file()
        await other.release()
    await harness.fetch(cache, "b")
    assert folder.parent.name not in harness.models()


async def test_the_partial_download_of_a_killed_process_is_removed(harness: CacheHarness) -> None:
    """At the next start of a process; a download of a running process is left alone."""
    harness.server.add_model("wine", size=2_000_000)
    gate = harness.server.add_gate("wine/data/model.bin")
    async with harness.other_process("wine") as other:
        await gate.reached.wait()
        await harness.open_cache()
        assert harness.partial_files() != []
        other.process.kill()
        await other.process.wait()
    assert harness.partial_files() != []
    cache = await harness.open_cache()
    assert harness.partial_files() == []
    gate.open.set()
    assert (await harness.fetch(cache, "wine") / "MLmodel").is_file()
