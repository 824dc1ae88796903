"""Builds MLflow search filters, whose syntax has no way to escape a quotation mark."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_UNSAFE = re.compile(r"['\"\\]")
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


def name_equals(name: str) -> str:
    """Return a filter for this name; it also matches other names if `name` contains quotes."""
    if _UNSAFE.search(name):
        return f"name LIKE '{_quotes_to_wildcards(name)}'"
    return f"name = '{name}'"


def name_contains(text: str) -> str:
    """Return a filter for names that contain `text`; it may also match others."""
    return f"name LIKE '%{_quotes_to_wildcards(text)}%'" if text else ""


def id_in(field: str, ids: Iterable[str]) -> str:
    """Return a filter for these ids without the malformed ones; empty if no id is left."""
    quoted = [f"'{each}'" for each in ids if _ID.fullmatch(each)]
    if len(quoted) > 1:
        return f"{field} IN ({', '.join(quoted)})"
    return f"{field} = {quoted[0]}" if quoted else ""


def _quotes_to_wildcards(text: str) -> str:
    return _UNSAFE.sub("_", text)
