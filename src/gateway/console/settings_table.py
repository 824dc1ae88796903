"""The settings in force with where each comes from; secrets are named, never shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pydantic import SecretStr

from gateway.console import text
from gateway.domain.refs import ModelRef, format_ref
from gateway.settings import PARTS, Settings, aliases
from gateway.system.redaction import redact_urls

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

_MAX_VALUE: Final = 200


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting: its name in the environment, its value as text, and its origin."""

    name: str
    value: str
    origin: str
    description: str


def setting_rows(settings: Settings) -> list[SettingRow]:
    """Return every setting; those that the operator chose come first."""
    groups: list[BaseModel] = [settings, *(getattr(settings, part) for part in PARTS)]
    rows = [row for group in groups for row in _rows(settings, group)]
    return sorted(rows, key=lambda row: row.origin == "default")


def _rows(settings: Settings, group: BaseModel) -> Iterator[SettingRow]:
    for field, info in type(group).model_fields.items():
        if names := aliases(type(group), field):
            chosen = next((name for name in names if name in settings.environment), None)
            origin = "default"
            if chosen is not None:
                origin = ".env" if chosen in settings.from_file else "environment"
            value = _text(getattr(group, field))
            yield SettingRow(chosen or names[0], value, origin, info.description or "")


def _text(value: object) -> str:
    if isinstance(value, SecretStr):
        return "set, not shown" if value.get_secret_value() else text.DASH
    if value is None or value in ("", ()):
        return text.DASH
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list | frozenset):
        return text.cut(", ".join(_text(each) for each in value), _MAX_VALUE)
    if isinstance(value, ModelRef):
        return format_ref(value)
    return text.cut(redact_urls(str(value)), _MAX_VALUE)
