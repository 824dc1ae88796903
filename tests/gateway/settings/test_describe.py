"""Proves that `env.template` and the help describe the settings as they are."""

from __future__ import annotations

import re
from pathlib import Path

from gateway import settings
from gateway.settings import describe

TEMPLATE = Path(__file__).parents[3] / "env.template"


def test_template_is_up_to_date() -> None:
    """`env.template` has the current descriptions; `make -B env.template` writes it."""
    assert TEMPLATE.read_text() == describe.env_template()


def test_every_setting_is_explained() -> None:
    """Each setting has a description, in the template and in the help."""
    entries = [entry for group in settings.GROUPS for entry in describe.setting_docs(group)]
    assert {name for entry in entries for name in (entry.name, *entry.aliases)} == settings.env_names()
    assert all(entry.description.endswith((".", "`.")) for entry in entries)
    text = describe.help_text()
    assert all(name in text and name in describe.env_template() for name in settings.env_names())


def test_template_holds_the_defaults(tmp_path: Path) -> None:
    """A `.env` with every line of the template changes nothing."""
    file = tmp_path / ".env"
    file.write_text(re.sub(r"^# ([A-Z0-9_]+=)", r"\1", TEMPLATE.read_text(), flags=re.MULTILINE))
    assert "\nGATEWAY_PORT=8080\n" in file.read_text()
    default, loaded = settings.load({}), settings.load({}, env_file=file)
    ignored = {"environment", "from_file", "cache_dir"}
    assert loaded.model_dump(exclude=ignored) == default.model_dump(exclude=ignored)


def test_help_fits_a_terminal() -> None:
    """No line of the help is longer than LINE_WIDTH."""
    assert max(len(line) for line in describe.help_text().splitlines()) <= describe.LINE_WIDTH
