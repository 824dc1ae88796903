"""Proves that the pool's limits follow the current settings, and are cheap to read."""

from __future__ import annotations

from gateway import settings
from gateway.settings import CurrentSettings
from gateway.settings.capacity import CurrentPoolLimits


def test_limits_are_computed_once_for_each_settings_object() -> None:
    """The same object is returned until the settings are exchanged; then it has their values."""
    current = CurrentSettings(settings.load({"GATEWAY_MAX_QUEUE": "7"}))
    limits = CurrentPoolLimits(current)
    assert limits().max_queue == 7
    assert limits() is limits()
    current.value = settings.load({"GATEWAY_MAX_QUEUE": "8"})
    assert limits().max_queue == 8
