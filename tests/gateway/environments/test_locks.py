"""Proves that locks have hashes and are kept, that only approved ones count if the operator says so, and that
environments can be built without an index.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from gateway.errors import EnvironmentRefused

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateway.environments.conftest import Harness


async def test_another_file_under_the_same_name_is_refused(harness: Harness) -> None:
    """The hashes are those of the first build: an index that has another wheel now is not trusted."""
    wanted = harness.require("learner==1.5.2")
    environments = harness.open_with()
    await environments.open()
    prepared = await environments.prepare(wanted)
    assert prepared is not None
    lock = await environments.lock(wanted, prepared)
    assert f"sha256:{digest_of(harness, 'learner')}" in lock.text
    harness.index.add("learner", "1.5.2", needs=["helper"], size=10)
    with pytest.raises(EnvironmentRefused, match="another file than the lock says"):
        async with environments.lease(wanted):
            pass


def digest_of(harness: Harness, name: str) -> str:
    """Return the SHA-256 of the index's wheel."""
    (wheel,) = harness.index.folder.glob(f"{name}-*.whl")
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


async def test_only_approved_locks_count(harness: Harness, tmp_path: Path) -> None:
    """The error names the file that is missing; with it, the environment is what it says."""
    approved = tmp_path / "approved"
    approved.mkdir()
    wanted = harness.require("learner==1.5.2")
    environments = harness.open_with(GATEWAY_ENVIRONMENT_LOCKS=str(approved))
    await environments.open()
    prepared = await environments.prepare(wanted)
    assert prepared is not None
    with pytest.raises(EnvironmentRefused, match=f"{prepared.lock_name}.txt"):
        async with environments.lease(wanted):
            pass
    text = await environments.resolve(wanted, prepared)
    (approved / f"{prepared.lock_name}.txt").write_text(text)
    environments = harness.open_with(GATEWAY_ENVIRONMENT_LOCKS=str(approved))
    async with environments.lease(wanted) as environment:
        assert environment is not None


@pytest.mark.slow
async def test_a_wheels_folder_replaces_the_index(harness: Harness, tmp_path: Path) -> None:
    """An export has every wheel of the lock. A gateway with that folder asks nothing else."""
    wanted = harness.require("learner==1.5.2")
    environments = harness.open_with()
    await environments.open()
    prepared = await environments.prepare(wanted)
    assert prepared is not None
    count = await environments.export(wanted, prepared, tmp_path / "wheels")
    assert count == len(list((tmp_path / "wheels").glob("*.whl"))) >= 8
    asked = len(harness.index.requests)
    environments = harness.open_with(
        GATEWAY_CACHE_DIR=str(tmp_path / "other"), GATEWAY_WHEELS=str(tmp_path / "wheels")
    )
    await environments.open()
    async with environments.lease(wanted) as environment:
        assert environment is not None
    with pytest.raises(EnvironmentRefused, match="other"):
        async with environments.lease(harness.require("other==1", name="other")):
            pass
    assert len(harness.index.requests) == asked


@pytest.mark.slow
async def test_exported_locks_keep_versions_apart(harness: Harness, tmp_path: Path) -> None:
    """Of a folder with the wheels of two days, each version gets those of its own day."""
    old = harness.require("learner==1.5.2", name="old", logged_at=datetime(2023, 5, 10, tzinfo=UTC))
    new = harness.require("learner==1.5.2", name="new", logged_at=datetime(2024, 7, 10, tzinfo=UTC))
    environments = harness.open_with()
    await environments.open()
    locked = []
    for wanted in (old, new):
        prepared = await environments.prepare(wanted)
        assert prepared is not None
        await environments.export(wanted, prepared, tmp_path / "wheels")
        lock = await environments.lock(wanted, prepared)
        locked.append(lock.packages)
    assert len(list((tmp_path / "wheels").glob("helper-*.whl"))) == 2
    environments = harness.open_with(
        GATEWAY_CACHE_DIR=str(tmp_path / "other"), GATEWAY_WHEELS=str(tmp_path / "wheels")
    )
    await environments.open()
    for wanted, packages in zip((old, new), locked, strict=True):
        prepared = await environments.prepare(wanted)
        assert prepared is not None
        assert (await environments.lock(wanted, prepared)).packages == packages
        async with environments.lease(wanted) as environment:
            assert environment is not None
