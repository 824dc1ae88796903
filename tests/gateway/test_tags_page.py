"""Proves that the table of tags in `docs/models.md` has every tag that the gateway reads from MLflow."""

from __future__ import annotations

import ast
import re
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
TAG = re.compile(r"gateway(\.[a-z_]+)+")
FILES = {".html", ".js", ".css", ".json", ".yaml", ".svg"}


def texts_of_source() -> set[str]:
    """Return the texts of the source that look like a tag."""
    return {
        node.value
        for package in ("gateway", "workers")
        for file in (ROOT / "src" / package).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and TAG.fullmatch(node.value)
        if Path(node.value).suffix not in FILES
    }


def is_module(name: str) -> bool:
    """Whether a text names a module of the gateway, and so no tag."""
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def test_every_tag_stands_in_the_table() -> None:
    """And no other: a tag that went leaves no row behind."""
    page = (ROOT / "docs" / "models.md").read_text()
    rows = re.findall(r"^\| `(gateway\.[a-z_.]+)` \| ", page, flags=re.MULTILINE)
    assert len(rows) == len(set(rows)) >= 4
    assert set(rows) == {text for text in texts_of_source() if not is_module(text)}
