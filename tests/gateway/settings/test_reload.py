"""Proves which settings a running gateway reloads, and that invalid ones change nothing."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from gateway import settings
from gateway.settings import CurrentSettings, Settings, describe
from gateway.settings.reload import SettingsReloader
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Iterator

CACHE = {"GATEWAY_CACHE_DIR": "/x"}


def reloader_between(
    before: dict[str, str], after: dict[str, str]
) -> tuple[SettingsReloader, CurrentSettings, list[Settings]]:
    """Return a reloader from `before` to `after`, the settings in force, and those at each change."""
    changes: list[Settings] = []
    current = CurrentSettings(settings.load(CACHE | before))
    reloader = SettingsReloader(
        current, lambda: settings.load(CACHE | after), on_change=lambda: changes.append(current.value)
    )
    return reloader, current, changes


def test_the_documented_settings_are_reloadable() -> None:
    """Those that `docs/operations.md` names under SIGHUP, and no others."""
    reloadable = {entry.name for entry in describe.setting_docs(Settings) if entry.reloadable}
    assert reloadable == {
        "GATEWAY_BATCHING",
        "GATEWAY_BEST_METRIC",
        "GATEWAY_BEST_ORDER",
        "GATEWAY_CATALOG_TTL_SECONDS",
        "GATEWAY_DRAIN_SECONDS",
        "GATEWAY_GRACE_SECONDS",
        "GATEWAY_IDLE_SECONDS",
        "GATEWAY_INPUT_CHECKS",
        "GATEWAY_LOAD_TIMEOUT_SECONDS",
        "GATEWAY_LOG_FORMAT",
        "GATEWAY_LOG_LEVEL",
        "GATEWAY_MAX_ANSWER_BYTES",
        "GATEWAY_MAX_LOADED_MODELS",
        "GATEWAY_MAX_QUEUE",
        "GATEWAY_MEMORY_BUDGET_BYTES",
        "GATEWAY_MODEL_ERROR_TEXT",
        "GATEWAY_PINNED_MODELS",
        "GATEWAY_REQUEST_TIMEOUT_SECONDS",
        "GATEWAY_STREAM_TIMEOUT_SECONDS",
    }


def test_what_can_change_and_what_needs_a_restart(caplog: pytest.LogCaptureFixture) -> None:
    """Only reloadable settings change; the log names all that differ, other environment variables too."""
    after = {
        "GATEWAY_IDLE_SECONDS": "5",
        "GATEWAY_PORT": "81",
        "MLFLOW_TRACKING_URI": "http://x",
        "OMP_NUM_THREADS": "9",
    }
    reloader, current, changes = reloader_between({"GATEWAY_MAX_QUEUE": "7"}, after)
    with caplog.at_level("INFO", "gateway"):
        assert reloader.apply(reloader.read())
    assert changes == [current.value]
    assert (current.value.idle_seconds, current.value.max_queue, current.value.port) == (5, 1024, 8080)
    assert current.value.environment == CACHE | {"GATEWAY_IDLE_SECONDS": "5"}
    (record,) = caplog.records
    assert vars(record)["applied"] == ["GATEWAY_IDLE_SECONDS", "GATEWAY_MAX_QUEUE"]
    assert vars(record)["need_a_restart"] == ["GATEWAY_PORT", "MLFLOW_TRACKING_URI", "OMP_NUM_THREADS"]
    assert vars(record)["changes"] == {
        "GATEWAY_IDLE_SECONDS": "default → 5",
        "GATEWAY_MAX_QUEUE": "7 → default",
    }
    assert "http://x" not in record.getMessage()


def test_the_same_again(caplog: pytest.LogCaptureFixture) -> None:
    """A value that is written differently is no change."""
    reloader, _, _ = reloader_between({"GATEWAY_IDLE_SECONDS": "5"}, {"GATEWAY_IDLE_SECONDS": "5.0"})
    with caplog.at_level("INFO", "gateway"):
        assert reloader.apply(reloader.read())
    assert "applied: none; need a restart: none" in caplog.text


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ({}, {"GATEWAY_IDLE_SECONDS": "soon", "GATEWAY_PROT": "1"}, ["GATEWAY_IDLE_SECONDS", "GATEWAY_PROT"]),
        # Valid by itself, but not with the sources, which stay.
        ({"GATEWAY_SOURCES": "experiments"}, {"GATEWAY_PINNED_MODELS": "wine@new"}, ["GATEWAY_SOURCES"]),
    ],
)
def test_invalid_settings_change_nothing(
    caplog: pytest.LogCaptureFixture, before: dict[str, str], after: dict[str, str], named: list[str]
) -> None:
    """The log has all problems, and `on_change` is not called."""
    reloader, current, changes = reloader_between(before, after)
    old = current.value
    assert not reloader.apply(reloader.read())
    assert current.value is old
    assert changes == []
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert all(name in record.getMessage() for name in named)


def test_no_reloadable_setting_is_a_secret() -> None:
    """Because the log has their values."""
    reloadable = {entry.name for entry in describe.setting_docs(Settings) if entry.reloadable}
    secret = {name for name, info in Settings.model_fields.items() if info.annotation is SecretStr}
    assert not {name for field in secret for name in settings.aliases(Settings, field)} & reloadable


@pytest.fixture
def configured_logs() -> Iterator[None]:
    """A test may configure the log; afterwards it is as before."""
    loggers = [logging.getLogger(name) for name in (None, "gateway", "workers", "model")]
    before = [(each, each.level, each.handlers[:], each.propagate) for each in loggers]
    yield
    for each, level, handlers, propagate in before:
        each.setLevel(level)
        each.handlers[:], each.propagate = handlers, propagate


@pytest.mark.usefixtures("configured_logs")
@pytest.mark.parametrize("level", ["warning", "error"])
def test_the_log_has_it_whatever_the_level_is(caplog: pytest.LogCaptureFixture, level: str) -> None:
    """Before and after: a change that silences the log is not silent itself, and names what changed."""
    reloader, _, _ = reloader_between({"GATEWAY_LOG_LEVEL": level}, {"GATEWAY_LOG_LEVEL": "error"})
    logs.configure(level, "json")
    logging.getLogger().addHandler(caplog.handler)
    try:
        assert reloader.apply(reloader.read())
    finally:
        logging.getLogger().removeHandler(caplog.handler)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert vars(record)["event"] == "settings_reloaded"


async def test_each_request_is_one_reload() -> None:
    """Requests that come while the settings are read are one more."""
    requested, changes, twice = asyncio.Event(), 0, asyncio.Event()

    def on_change() -> None:
        nonlocal changes
        changes += 1
        if changes == 1:
            requested.set()
            requested.set()
        else:
            twice.set()

    reloader = SettingsReloader(
        CurrentSettings(settings.load(CACHE)), lambda: settings.load(CACHE), on_change=on_change
    )
    task = asyncio.create_task(reloader.run(requested))
    requested.set()
    async with asyncio.timeout(60):
        await twice.wait()
    task.cancel()
    await asyncio.wait([task])
    assert changes == 2


def test_a_reload_accepts_what_a_start_accepts(caplog: pytest.LogCaptureFixture) -> None:
    """A default adapts to what the operator sets, as at a start, and becomes the default again later."""
    after = {"GATEWAY_DRAIN_SECONDS": "1"}
    reloader, current, _ = reloader_between({}, after)
    assert reloader.apply(reloader.read())
    assert (current.value.drain_seconds, current.value.effective_grace_seconds) == (1, 0.5)
    del after["GATEWAY_DRAIN_SECONDS"]
    assert reloader.apply(reloader.read())
    assert (current.value.drain_seconds, current.value.effective_grace_seconds) == (30, 2)
    after |= {"GATEWAY_DRAIN_SECONDS": "1", "GATEWAY_GRACE_SECONDS": "2"}
    assert not reloader.apply(reloader.read())
    assert "GATEWAY_GRACE_SECONDS: is 2, but GATEWAY_DRAIN_SECONDS" in caplog.text
