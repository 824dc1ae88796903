"""Describe the settings for people, in `--help` and in `env.template`, from the fields' descriptions."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from gateway import settings
from gateway.settings.types import DEFAULT_CACHE_FOLDER_TEXT, RELOADABLE, default_cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

LINE_WIDTH = 100
GROUP_TITLES: dict[type[BaseModel], str] = {
    settings.MlflowSettings: "MLflow server, under the names that MLflow's own client reads",
    settings.S3Settings: "S3 store, under the names that the clients of MLflow and AWS read",
    settings.Settings: "Gateway",
    settings.AuthSettings: "Gateway: who may call it, and how much",
    settings.JwtSettings: "Gateway: tokens of an OpenID provider",
    settings.TlsSettings: "Gateway: its own TLS",
    settings.BrowserSettings: "Gateway: web pages",
    settings.ModelAccessSettings: "Gateway: what model code may see",
    settings.EnvironmentSettings: "Gateway: environments of model versions",
    settings.FleetSettings: "Gateway: models on other machines",
    settings.NodeSettings: "Node: what `gateway node` listens on",
    settings.RaySettings: "Gateway: node agents that Ray starts",
}
TEMPLATE_HEADER = """\
All settings with their defaults and meanings. Copy this file to .env and change what you need:
    cp env.template .env
The environment wins over .env. An empty value counts as not set. The gateway refuses to start on an
unknown GATEWAY_ name or a wrong value, and lists every problem. SIGHUP has a running gateway read the
settings again; it applies the changes of those marked "reloadable".
"""


@dataclass(frozen=True, slots=True)
class SettingDoc:
    """The documentation of one setting, with its default as text."""

    name: str
    aliases: tuple[str, ...]
    default: str
    description: str
    reloadable: bool

    @property
    def full_description(self) -> str:
        """The description with the other names of the setting, and whether a reload applies it."""
        also = f" Also read: {', '.join(self.aliases)}." if self.aliases else ""
        return self.description + also + (" (reloadable)" if self.reloadable else "")


def setting_docs(group: type[BaseModel]) -> Iterator[SettingDoc]:
    """Yield the documentation of each setting of one group, in the order of its fields."""
    for field, info in group.model_fields.items():
        if names := settings.aliases(group, field):
            yield SettingDoc(
                name=names[0],
                aliases=tuple(names[1:]),
                default=_default_text(info),
                description=info.description or "",
                reloadable=RELOADABLE in info.metadata,
            )


def help_text() -> str:
    """Return the help on all settings: name and default on a line, the description below."""
    lines: list[str] = []
    for group, title in GROUP_TITLES.items():
        lines += ["", f"{title}:", ""]
        for setting in setting_docs(group):
            lines.append(f"  {setting.name}" + (f"  [{setting.default}]" if setting.default else ""))
            lines += textwrap.wrap(
                setting.full_description, LINE_WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6
            )
    return "\n".join(lines)


def env_template() -> str:
    """Return the text of `env.template`, in which every setting is a comment with its default."""
    lines = [f"# {line}".rstrip() for line in TEMPLATE_HEADER.splitlines()]
    for group, title in GROUP_TITLES.items():
        lines += ["", "", f"# --- {title} ---"]
        for setting in setting_docs(group):
            lines += [
                "",
                *textwrap.wrap(
                    setting.full_description, LINE_WIDTH, initial_indent="# ", subsequent_indent="# "
                ),
            ]
            lines.append(f"# {setting.name}={setting.default}")
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
