"""Proves which settings a running gateway takes over, and what it makes of those that do not fit together."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway import settings
from gateway.settings import CurrentSettings, Settings
from gateway.settings.reload import CHANGEABLE, SettingsReloader

CACHE = {"GATEWAY_CACHE_DIR": "/x"}


def reload_of(
    before: dict[str, str], after: dict[str, str]
) -> tuple[SettingsReloader, CurrentSettings, list[Settings]]:
    """From the one to the other; and what was handed on."""
    applied: list[Settings] = []
    current = CurrentSettings(settings.load(CACHE | before))
    return (
        SettingsReloader(current, lambda: settings.load(CACHE | after), on_change=applied.append),
        current,
        applied,
    )


def test_every_changeable_field_is_a_setting() -> None:
    """A field that is renamed must not become one that needs a restart unnoticed."""
    assert set(Settings.model_fields) >= CHANGEABLE


def test_what_can_change_and_what_needs_a_restart(caplog: pytest.LogCaptureFixture) -> None:
    """The one is taken, the other stays; both are named, the environment beyond our settings too."""
    after = {
        "GATEWAY_IDLE_SECONDS": "5",
        "GATEWAY_PORT": "81",
        "MLFLOW_TRACKING_URI": "http://x",
        "OMP_NUM_THREADS": "9",
    }
    reload, current, applied = reload_of({"GATEWAY_MAX_QUEUE": "7"}, after)
    with caplog.at_level("INFO", "gateway"):
        assert reload.apply(reload.read())
    assert applied == [current.value]
    assert (current.value.idle_seconds, current.value.max_queue, current.value.port) == (5, 1024, 8080)
    assert current.value.environment == CACHE | {"GATEWAY_IDLE_SECONDS": "5"}
    (record,) = caplog.records
    assert vars(record)["applied"] == ["GATEWAY_IDLE_SECONDS", "GATEWAY_MAX_QUEUE"]
    assert vars(record)["need_a_restart"] == ["GATEWAY_PORT", "MLFLOW_TRACKING_URI", "OMP_NUM_THREADS"]


def test_the_same_again(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is applied that was there, whatever way it is written."""
    reload, _, _ = reload_of({"GATEWAY_IDLE_SECONDS": "5"}, {"GATEWAY_IDLE_SECONDS": "5.0"})
    with caplog.at_level("INFO", "gateway"):
        assert reload.apply(reload.read())
    assert "applied: none; need a restart: none" in caplog.text


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ({}, {"GATEWAY_IDLE_SECONDS": "soon", "GATEWAY_PROT": "1"}, ["GATEWAY_IDLE_SECONDS", "GATEWAY_PROT"]),
        # Right by itself, but not beside the processes that there are.
        ({"GATEWAY_PROCESSES": "4"}, {"GATEWAY_MAX_LOADED_MODELS": "2"}, ["GATEWAY_PROCESSES"]),
    ],
)
@pytest.mark.skipif(not Path("/proc").exists(), reason="several processes need Linux")
def test_what_is_wrong_changes_nothing(
    caplog: pytest.LogCaptureFixture, before: dict[str, str], after: dict[str, str], named: list[str]
) -> None:
    """All problems are named, and nobody is told of new settings."""
    reload, current, applied = reload_of(before, after)
    old = current.value
    assert not reload.apply(reload.read())
    assert current.value is old
    assert applied == []
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert all(name in record.getMessage() for name in named)


async def test_each_asking_is_one_reading() -> None:
    """Askings that come while it reads are one more."""
    asked, applied, twice = asyncio.Event(), 0, asyncio.Event()

    def apply(_: Settings) -> None:
        nonlocal applied
        applied += 1
        if applied == 1:
            asked.set()
            asked.set()
        else:
            twice.set()

    reload = SettingsReloader(
        CurrentSettings(settings.load(CACHE)), lambda: settings.load(CACHE), on_change=apply
    )
    task = asyncio.create_task(reload.run(asked))
    asked.set()
    async with asyncio.timeout(10):
        await twice.wait()
    task.cancel()
    await asyncio.wait([task])
    assert applied == 2


def test_what_a_start_would_take_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    """A default gives way to what was chosen, as at a start, and is one again later."""
    after = {"GATEWAY_DRAIN_SECONDS": "1"}
    reload, current, _ = reload_of({}, after)
    assert reload.apply(reload.read())
    assert (current.value.drain_seconds, current.value.effective_grace_seconds) == (1, 0.5)
    del after["GATEWAY_DRAIN_SECONDS"]
    assert reload.apply(reload.read())
    assert (current.value.drain_seconds, current.value.effective_grace_seconds) == (30, 2)
    after |= {"GATEWAY_DRAIN_SECONDS": "1", "GATEWAY_GRACE_SECONDS": "2"}
    assert not reload.apply(reload.read())
    assert "GATEWAY_GRACE_SECONDS: is 2, but GATEWAY_DRAIN_SECONDS" in caplog.text
