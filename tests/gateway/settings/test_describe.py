"""What is said about the settings is made from the settings, and stays true."""

from __future__ import annotations

import re
from pathlib import Path

from gateway import settings
from gateway.settings import describe

TEMPLATE = Path(__file__).parents[3] / "env.template"


def test_template_is_up_to_date() -> None:
    """`env.template` is what the fields say now; `make -B env.template` writes it again."""
    assert TEMPLATE.read_text() == describe.env_template()


def test_every_setting_is_explained() -> None:
    """Each setting has a meaning, in the template and in the help."""
    entries = [entry for part in settings.GROUPS for entry in describe.setting_docs(part)]
    assert {name for entry in entries for name in (entry.name, *entry.aliases)} == settings.env_names()
    assert all(entry.description.endswith((".", "`.")) for entry in entries)
    shown = describe.help_text()
    assert all(name in shown and name in describe.env_template() for name in settings.env_names())


def test_template_holds_the_defaults(tmp_path: Path) -> None:
    """With every line of the template in force nothing changes."""
    file = tmp_path / ".env"
    file.write_text(re.sub(r"^# ([A-Z0-9_]+=)", r"\1", TEMPLATE.read_text(), flags=re.MULTILINE))
    assert "\nGATEWAY_PORT=8080\n" in file.read_text()
    default, got = settings.load({}), settings.load({}, env_file=file)
    ignored = {"environment", "cache_dir"}
    assert got.model_dump(exclude=ignored) == default.model_dump(exclude=ignored)


def test_help_fits_a_terminal() -> None:
    """No line of the help is longer than the width it is written for."""
    assert max(len(line) for line in describe.help_text().splitlines()) <= describe.LINE_WIDTH
