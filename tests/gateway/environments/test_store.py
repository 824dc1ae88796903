"""Proves that environments share files, that their disk is bounded, and that none is removed in use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.environments import blocks
from gateway.environments.store import EVICTIONS
from gateway.errors import CacheFull
from tests.support.disks import disk
from workers.metrics import Counters

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.domain.models import ModelVersion
    from gateway.environments.environments import Environments
    from tests.gateway.environments.conftest import Harness

MIB = 2**20


async def build(environments: Environments, wanted: ModelVersion) -> str:
    """Lease an environment for a moment, and return its digest."""
    async with environments.lease(wanted) as environment:
        assert environment is not None
        return environment.digest


def versions(harness: Harness, count: int) -> list[ModelVersion]:
    """Return versions that need a package of 2 MiB each, and share one of 8 MiB."""
    harness.index.add("common", "1.0", size=8 * MIB)
    for number in range(count):
        harness.index.add(f"own{number}", "1.0", size=2 * MIB)
    return [harness.require("common==1.0", f"own{number}==1.0", name=f"m{number}") for number in range(count)]


@pytest.mark.slow
async def test_environments_share_files(harness: Harness) -> None:
    """Three of them with a common library of 8 MiB take little more than one, uv's cache included."""
    environments = harness.open_with()
    await environments.open()
    wanted = versions(harness, 3)
    await build(environments, wanted[0])
    one = sum(blocks.blocks_of(harness.root).values())
    for each in wanted[1:]:
        await build(environments, each)
    three = sum(blocks.blocks_of(harness.root).values())
    assert len(harness.built()) == 3
    assert three - one < 6 * MIB


@pytest.mark.slow
async def test_the_least_recently_used_goes_first(harness: Harness) -> None:
    """Beyond the limit, one that was not used since goes, and one that is leased stays."""
    counters = Counters()
    environments = harness.open_with(counters, GATEWAY_ENVIRONMENTS_MAX_BYTES=str(13 * MIB))
    await environments.open()
    wanted = versions(harness, 4)
    async with environments.lease(wanted[0]) as leased:
        assert leased is not None
        second = await build(environments, wanted[1])
        third = await build(environments, wanted[2])
        assert second not in harness.built()
        fourth = await build(environments, wanted[3])
        assert harness.built() == sorted([leased.digest, fourth])
    assert third not in harness.built()
    assert counters.value(EVICTIONS) == 2
    assert blocks.total_bytes([blocks.blocks_of(harness.root)]) < 13 * MIB


async def test_an_environment_larger_than_all_may_be_is_refused(harness: Harness) -> None:
    """The message names the setting; what was built is gone."""
    environments = harness.open_with(GATEWAY_ENVIRONMENTS_MAX_BYTES=str(4 * MIB))
    await environments.open()
    with pytest.raises(CacheFull, match="GATEWAY_ENVIRONMENTS_MAX_BYTES"):
        await build(environments, versions(harness, 1)[0])
    assert harness.built() == harness.partial() == []


async def test_a_full_disk_is_told(harness: Harness, tmp_path: Path) -> None:
    """If nothing can be removed, the error says which folder is full, and nothing is left there."""
    with disk(tmp_path / "disk", mebibytes=6) as folder:
        environments = harness.open_with(GATEWAY_ENVIRONMENTS_DIR=str(folder / "e"))
        await environments.open()
        with pytest.raises(CacheFull, match="GATEWAY_ENVIRONMENTS_DIR"):
            await build(environments, versions(harness, 1)[0])
        top = folder / "e" / "v1"
        assert list((top / "environments").iterdir()) == list((top / "partial").iterdir()) == []


@pytest.mark.slow
async def test_a_full_disk_makes_room(harness: Harness, tmp_path: Path) -> None:
    """An environment that is not in use goes, and the build is tried once more."""
    harness.index.add("first", "1.0", size=20 * MIB)
    harness.index.add("second", "1.0", size=20 * MIB)
    with disk(tmp_path / "disk", mebibytes=36) as folder:
        environments = harness.open_with(GATEWAY_ENVIRONMENTS_DIR=str(folder / "e"))
        await environments.open()
        await build(environments, harness.require("first==1.0", name="a"))
        digest = await build(environments, harness.require("second==1.0", name="b"))
        assert [path.name for path in (folder / "e" / "v1" / "environments").iterdir()] == [digest]


async def test_a_damaged_environment_is_built_again(harness: Harness) -> None:
    """A new process notices files that a crash of the machine has left out."""
    wanted = harness.require("learner==1.5.2")
    environments = harness.open_with()
    await environments.open()
    digest = await build(environments, wanted)
    (module,) = (harness.root / "environments" / digest).glob("env/lib/python3*/site-packages/learner.py")
    module.unlink()
    environments = harness.open_with()
    await environments.open()
    assert await build(environments, wanted) == digest
    assert module.exists()
