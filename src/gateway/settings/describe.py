"""The settings as people read them: in `--help` and in `env.template`, both from the fields' descriptions."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from gateway import settings
from gateway.settings.types import CACHE_SHOWN, cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

WIDTH = 100
TITLES: dict[type[BaseModel], str] = {
    settings.MlflowSettings: "The MLflow server, under the names that MLflow's own client reads",
    settings.S3Settings: "The S3 store, under the names that MLflow's client and AWS's read",
    settings.Settings: "The gateway itself",
}
HEAD = """\
Every setting, with its default and its meaning. Copy to .env and change what you need:
    cp env.template .env
The environment wins over .env; an empty value counts as absent. An unknown GATEWAY_ name or a wrong
value: the gateway refuses to start and names all of them.
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One setting: its name, what else it may be called, its default as text, and its meaning."""

    name: str
    others: tuple[str, ...]
    default: str
    meaning: str

    @property
    def sentence(self) -> str:
        """The meaning, and the other names."""
        return self.meaning + (f" Also read: {', '.join(self.others)}." if self.others else "")


def entries(part: type[BaseModel]) -> Iterator[Entry]:
    """Every setting of one part, in the order of its fields."""
    for field, info in part.model_fields.items():
        known = settings.aliases(part, field)
        if known:
            yield Entry(known[0], tuple(known[1:]), _default(info), info.description or "")


def for_help() -> str:
    """Every setting for a terminal: name and default on a line, the meaning below."""
    lines: list[str] = []
    for part, title in TITLES.items():
        lines += ["", f"{title}:", ""]
        for entry in entries(part):
            lines.append(f"  {entry.name}" + (f"  [{entry.default}]" if entry.default else ""))
            lines += textwrap.wrap(entry.sentence, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)


def template() -> str:
    """The text of `env.template`: what is commented out is the default."""
    lines = [f"# {line}".rstrip() for line in HEAD.splitlines()]
    for part, title in TITLES.items():
        lines += ["", "", f"# --- {title} ---"]
        for entry in entries(part):
            lines += ["", *textwrap.wrap(entry.sentence, WIDTH, initial_indent="# ", subsequent_indent="# ")]
            lines.append(f"# {entry.name}={entry.default}")
    return "\n".join(lines) + "\n"


def _default(info: FieldInfo) -> str:
    if info.default_factory is cache_folder:
        return CACHE_SHOWN
    value = info.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(str(word) for word in value)
    if isinstance(value, SecretStr) or value is None or value is PydanticUndefined:
        return ""
    return str(value)
