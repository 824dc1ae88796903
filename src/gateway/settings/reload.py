"""Reads the settings again while the gateway runs, and applies those that can change."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from gateway.settings import GROUPS, Settings, SettingsError, aliases, env_names, validate_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.settings import CurrentSettings

logger = logging.getLogger(__name__)

CHANGEABLE: Final = frozenset(
    {
        "batching",
        "best_metric",
        "best_order",
        "catalog_ttl_seconds",
        "drain_seconds",
        "grace_seconds",
        "idle_seconds",
        "input_checks",
        "load_timeout_seconds",
        "log_format",
        "log_level",
        "max_loaded_models",
        "max_queue",
        "memory_budget_bytes",
        "model_error_text",
        "pinned_models",
        "request_timeout_seconds",
        "stream_timeout_seconds",
    }
)
"""The fields of the settings that a running gateway can change."""

_RELOAD_FAILED: Final = "the settings could not be read again, and stay as they are"


class SettingsReloader:
    """Exchanges the current settings for what `reread` finds; `apply` hands them on to who holds some."""

    def __init__(
        self,
        current: CurrentSettings,
        read_settings: Callable[[], Settings],
        *,
        on_change: Callable[[Settings], None],
    ) -> None:
        self._current = current
        self._read_settings = read_settings
        self._on_change = on_change

    async def run(self, requested: asyncio.Event) -> None:
        """Read again whenever `asked` is set, until cancelled."""
        while True:
            await requested.wait()
            requested.clear()
            self.apply(await asyncio.to_thread(self.read))

    def read(self) -> Settings | None:
        """What the settings say now; None, and every problem in the log, where something is wrong."""
        try:
            return self._read_settings()
        except SettingsError as error:
            logger.error("%s: %s", _RELOAD_FAILED, "; ".join(error.problems))
        except OSError as error:
            logger.error("%s: %s", _RELOAD_FAILED, error.strerror)
        return None

    def apply(self, found: Settings | None) -> bool:
        """Apply what can change, and say so in the log; whether `found` could be taken."""
        if found is None:
            return False
        before = self._current.value
        try:
            merged = _merge(before, found)
        except SettingsError as error:
            logger.error("%s: %s", _RELOAD_FAILED, "; ".join(error.problems))
            return False
        self._on_change(merged)
        self._current.value = merged
        changed = sorted(_changed_names(before, merged))
        waiting = sorted(_changed_names(merged, found))
        extra = {"applied": changed, "need_a_restart": waiting}
        logger.info(
            "settings read again: applied: %s; need a restart: %s",
            ", ".join(changed) or "none",
            ", ".join(waiting) or "none",
            extra=extra,
        )
        return True


def _merge(before: Settings, found: Settings) -> Settings:
    """`before` with what can change as in `found`. Raises SettingsError where they do not go together."""
    sources = {field: found if field in CHANGEABLE else before for field in Settings.model_fields}
    values: dict[str, Any] = {  # a default stays one: it is not held against what was chosen
        field: getattr(source, field) for field, source in sources.items() if field in source.model_fields_set
    }
    values["environment"] = _merged_environment(before, found)
    return validate_settings(values)


def _merged_environment(before: Settings, found: Settings) -> dict[str, str]:
    """What was entered for the merged settings."""
    ours = {name for field in CHANGEABLE for name in aliases(Settings, field)}
    kept = {name: value for name, value in before.environment.items() if name not in ours}
    return kept | {name: value for name, value in found.environment.items() if name in ours}


def _changed_names(before: Settings, after: Settings) -> Iterator[str]:
    """The names of the settings that differ, and of everything else in the environment that does."""
    for part, one, other in zip(GROUPS, _groups(before), _groups(after), strict=True):
        for field in part.model_fields:
            if (known := aliases(part, field)) and getattr(one, field) != getattr(other, field):
                yield known[0]
    foreign = (before.environment.keys() | after.environment.keys()) - env_names()
    yield from (name for name in foreign if before.environment.get(name) != after.environment.get(name))


def _groups(settings: Settings) -> tuple[object, ...]:
    return settings, settings.mlflow, settings.s3
