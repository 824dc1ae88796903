"""Several gateway processes on one cache folder."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.errors import CacheFull

if TYPE_CHECKING:
    from tests.gateway.artifacts.conftest import House


async def test_two_processes_share_one_download(house: House) -> None:
    """Both ask while the download runs; one fetches, the other waits and uses the same files."""
    house.shelf.model("wine", size=1_000_000)
    gate = house.shelf.gate("wine/data/model.bin")
    async with AsyncExitStack() as stack:
        others = [await stack.enter_async_context(house.other_process("wine")) for _ in range(2)]
        await gate.reached.wait()
        # Nothing tells that the other one waits, other than that it does not fetch.
        await asyncio.sleep(0.3)
        gate.open.set()
        folders = {(await other.leased())["folder"] for other in others}
        for other in others:
            await other.release()
    assert len(folders) == 1
    assert house.shelf.fetched["wine/data/model.bin"] == 1


async def test_what_another_process_leases_stays(house: House) -> None:
    """A model in use elsewhere is never removed to make room; when given back, it may be."""
    house.max_bytes = 150_000
    house.shelf.model("a", size=100_000)
    house.shelf.model("b", size=100_000)
    cache = await house.cache()
    async with house.other_process("a") as other:
        folder = Path((await other.leased())["folder"])
        with pytest.raises(CacheFull):
            await house.fetch(cache, "b")
        assert (folder / "data" / "model.bin").is_file()
        await other.release()
    await house.fetch(cache, "b")
    assert folder.parent.name not in house.models()


async def test_a_dead_process_leaves_nothing_for_long(house: House) -> None:
    """A download in progress is left alone by whoever starts; one whose process was killed is removed."""
    house.shelf.model("wine", size=2_000_000)
    gate = house.shelf.gate("wine/data/model.bin")
    async with house.other_process("wine") as other:
        await gate.reached.wait()
        await house.cache()
        assert house.leftovers() != []
        other.process.kill()
        await other.process.wait()
    assert house.leftovers() != []
    cache = await house.cache()
    assert house.leftovers() == []
    gate.open.set()
    assert (await house.fetch(cache, "wine") / "MLmodel").is_file()
