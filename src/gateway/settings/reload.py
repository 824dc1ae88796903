"""Read the settings again while the gateway runs, and apply those that can change."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from gateway.settings import GROUPS, PARTS, Settings, SettingsError, aliases, env_names, validate_settings
from gateway.settings.types import RELOADABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.settings import CurrentSettings

logger = logging.getLogger(__name__)
# Whatever GATEWAY_LOG_LEVEL was and becomes, an operator must see that settings changed.
logger.setLevel(logging.WARNING)

_RELOADABLE_FIELDS: Final = frozenset(
    name for name, info in Settings.model_fields.items() if RELOADABLE in info.metadata
)


class SettingsReloader:
    """A reader that exchanges the settings in force for newly read ones, and then calls `on_change`."""

    def __init__(
        self,
        current: CurrentSettings,
        read_settings: Callable[[], Settings],
        *,
        on_change: Callable[[], None],
        on_request: Callable[[], None] | None = None,
    ) -> None:
        """`on_request` is called before each reload, also if the settings cannot be applied."""
        self._current = current
        self._read_settings = read_settings
        self._on_request = on_request
        self._on_change = on_change

    async def run(self, requested: asyncio.Event) -> None:
        """Reload whenever `requested` is set, until cancelled."""
        while True:
            await requested.wait()
            requested.clear()
            if self._on_request is not None:
                self._on_request()
            self.apply(await asyncio.to_thread(self.read))

    def read(self) -> Settings | None:
        """Read the settings; if there is a problem, log all problems and return None."""
        try:
            return self._read_settings()
        except SettingsError as error:
            _log_failure("; ".join(error.problems))
        except OSError as error:
            _log_failure(error.strerror or str(error))
        except Exception:  # the settings in force are better than none
            logger.exception("The settings could not be read", extra={"event": "settings_reload_failed"})
        return None

    def apply(self, found: Settings | None) -> bool:
        """Apply the reloadable settings and log which changed; return False if `found` cannot be applied."""
        if found is None:
            return False
        before = self._current.value
        try:
            merged = _merge(before, found)
        except SettingsError as error:
            _log_failure("; ".join(error.problems))
            return False
        applied = sorted(_changed_names(before, merged))
        need_restart = sorted(_changed_names(merged, found))
        changes = {name: _change(before, merged, name) for name in applied}
        logger.warning(
            "Settings reloaded; applied: %s; need a restart: %s",
            ", ".join(f"{name} {change}" for name, change in changes.items()) or "none",
            ", ".join(need_restart) or "none",
            extra={
                "event": "settings_reloaded",
                "applied": applied,
                "changes": changes,
                "need_a_restart": need_restart,
            },
        )
        self._current.value = merged
        self._on_change()
        return True


def _log_failure(reason: str) -> None:
    logger.error(
        "Settings reload failed; the current settings stay: %s",
        reason,
        extra={"event": "settings_reload_failed"},
    )


def _merge(before: Settings, found: Settings) -> Settings:
    """Return `before` with the reloadable fields of `found`; raise SettingsError if they contradict."""
    sources = {field: found if field in _RELOADABLE_FIELDS else before for field in Settings.model_fields}
    values: dict[str, Any] = {  # a default stays one, which settings of the operator may override
        field: getattr(source, field) for field, source in sources.items() if field in source.model_fields_set
    }
    values["environment"] = _merge_environments(before, found)
    values["from_file"] = found.from_file
    return validate_settings(values)


def _merge_environments(before: Settings, found: Settings) -> dict[str, str]:
    """Return the environment of `before` with the reloadable names as in `found`."""
    reloadable = {name for field in _RELOADABLE_FIELDS for name in aliases(Settings, field)}
    kept = {name: value for name, value in before.environment.items() if name not in reloadable}
    return kept | {name: value for name, value in found.environment.items() if name in reloadable}


def _changed_names(before: Settings, after: Settings) -> Iterator[str]:
    """Yield the names of the settings that differ, and of all other environment variables that do."""
    for group, one, other in zip(GROUPS, _groups(before), _groups(after), strict=True):
        for field in group.model_fields:
            if (names := aliases(group, field)) and getattr(one, field) != getattr(other, field):
                yield names[0]
    foreign = (before.environment.keys() | after.environment.keys()) - env_names()
    yield from (name for name in foreign if before.environment.get(name) != after.environment.get(name))


def _change(before: Settings, after: Settings, name: str) -> str:
    """Return the old and the new value of a reloadable setting, none of which is a secret."""
    return " → ".join(each.environment.get(name, "default") for each in (before, after))


def _groups(settings: Settings) -> tuple[object, ...]:
    return settings, *(getattr(settings, part) for part in PARTS)
