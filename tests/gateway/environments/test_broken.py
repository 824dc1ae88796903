"""Proves what the gateway does about environments that were built, but in which nothing can run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from gateway.environments.environments import BUILDS
from gateway.errors import EnvironmentRefused
from workers.errors import EnvironmentBroken
from workers.metrics import Counters

if TYPE_CHECKING:
    from gateway.domain.models import ModelVersion
    from gateway.environments.environments import Environments
    from tests.gateway.environments.conftest import Harness

REASON = "The model's Python environment cannot import pandas."


async def build(environments: Environments, wanted: ModelVersion) -> str:
    """Lease an environment for a moment, and return its digest."""
    async with environments.lease(wanted) as environment:
        assert environment is not None
        return environment.digest


def state_of(environments: Environments, wanted: ModelVersion) -> tuple[str, str, str]:
    """Return the state, the digest and the reason that clients see."""
    state = environments.state(wanted.key)
    assert state is not None
    return state.state, state.digest, state.reason


async def test_one_that_does_not_start_is_built_anew_once(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    """A damaged folder is replaced; what does not start after that is refused to all that share it."""
    counters = Counters()
    environments = harness.open_with(counters)
    await environments.open()
    first, second, later = (
        harness.require("learner==1.5.2", f"# {name}", name=name) for name in ("a", "b", "c")
    )
    digest = await build(environments, first)
    assert await build(environments, second) == digest
    (module,) = (harness.root / "environments" / digest).glob("env/lib/python3*/site-packages/learner.py")
    module.unlink()
    broken = EnvironmentBroken(REASON, digest=digest, package="pandas")
    with caplog.at_level(logging.ERROR):
        for _ in range(2):  # loads that ran at once
            environments.on_broken(broken)
    assert [getattr(record, "rebuild", None) for record in caplog.records] == [True, True]
    assert {state_of(environments, version) for version in (first, second)} == {("failed", digest, REASON)}

    assert await build(environments, second) == digest
    assert module.exists()
    assert state_of(environments, second) == ("ready", digest, "")
    assert await build(environments, first) == digest
    assert counters.value(BUILDS, "ok") == 2

    environments.on_broken(broken)
    assert {state_of(environments, version) for version in (first, second)} == {("failed", digest, REASON)}
    for version in (first, second, later):
        with pytest.raises(EnvironmentRefused, match="cannot import pandas"):
            await build(environments, version)
    assert counters.value(BUILDS, "ok") == 2
    assert state_of(environments, first) == ("failed", digest, REASON)


async def test_others_go_on(harness: Harness) -> None:
    """Only the one that is broken is built anew."""
    counters = Counters()
    environments = harness.open_with(counters)
    await environments.open()
    digest = await build(environments, harness.require("learner==1.5.2", name="a"))
    other = harness.require("helper==1.0", name="b")
    environments.on_broken(EnvironmentBroken(REASON, digest=digest))
    assert await build(environments, other) == await build(environments, other) != digest
    assert counters.value(BUILDS, "ok") == 2
    assert state_of(environments, other)[0] == "ready"
