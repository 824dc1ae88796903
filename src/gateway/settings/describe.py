"""The settings as people read them: in `--help` and in `env.template`, both from the fields' descriptions."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from gateway import settings
from gateway.settings.types import DEFAULT_CACHE_FOLDER_TEXT, default_cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

LINE_WIDTH = 100
GROUP_TITLES: dict[type[BaseModel], str] = {
    settings.MlflowSettings: "The MLflow server, under the names that MLflow's own client reads",
    settings.S3Settings: "The S3 store, under the names that MLflow's client and AWS's read",
    settings.Settings: "The gateway itself",
}
TEMPLATE_HEADER = """\
Every setting, with its default and its meaning. Copy to .env and change what you need:
    cp env.template .env
The environment wins over .env; an empty value counts as absent. An unknown GATEWAY_ name or a wrong
value: the gateway refuses to start and names all of them.
"""


@dataclass(frozen=True, slots=True)
class SettingDoc:
    """One setting: its name, what else it may be called, its default as text, and its meaning."""

    name: str
    aliases: tuple[str, ...]
    default: str
    description: str

    @property
    def full_description(self) -> str:
        """The meaning, and the other names."""
        return self.description + (f" Also read: {', '.join(self.aliases)}." if self.aliases else "")


def setting_docs(part: type[BaseModel]) -> Iterator[SettingDoc]:
    """Every setting of one part, in the order of its fields."""
    for field, info in part.model_fields.items():
        known = settings.aliases(part, field)
        if known:
            yield SettingDoc(known[0], tuple(known[1:]), _default_text(info), info.description or "")


def help_text() -> str:
    """Every setting for a terminal: name and default on a line, the meaning below."""
    lines: list[str] = []
    for part, title in GROUP_TITLES.items():
        lines += ["", f"{title}:", ""]
        for entry in setting_docs(part):
            lines.append(f"  {entry.name}" + (f"  [{entry.default}]" if entry.default else ""))
            lines += textwrap.wrap(
                entry.full_description, LINE_WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6
            )
    return "\n".join(lines)


def env_template() -> str:
    """The text of `env.template`: what is commented out is the default."""
    lines = [f"# {line}".rstrip() for line in TEMPLATE_HEADER.splitlines()]
    for part, title in GROUP_TITLES.items():
        lines += ["", "", f"# --- {title} ---"]
        for entry in setting_docs(part):
            lines += [
                "",
                *textwrap.wrap(
                    entry.full_description, LINE_WIDTH, initial_indent="# ", subsequent_indent="# "
                ),
            ]
            lines.append(f"# {entry.name}={entry.default}")
    return "\n".join(lines) + "\n"


def _default_text(info: FieldInfo) -> str:
    if info.default_factory is default_cache_folder:
        return DEFAULT_CACHE_FOLDER_TEXT
    value = info.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(str(word) for word in value)
    if isinstance(value, SecretStr) or value is None or value is PydanticUndefined:
        return ""
    return str(value)
