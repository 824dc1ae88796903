"""MLflow's search filters, which know no way to escape a quotation mark."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_UNSAFE = re.compile(r"['\"\\]")
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


def name_equals(name: str) -> str:
    """Finds everything of that name; other names too where it holds quotes, so compare again."""
    if _UNSAFE.search(name):
        return f"name LIKE '{_quotes_to_wildcards(name)}'"
    return f"name = '{name}'"


def name_contains(text: str) -> str:
    """Finds every name that holds `text`, and perhaps others: compare again."""
    return f"name LIKE '%{_quotes_to_wildcards(text)}%'" if text else ""


def id_in(field: str, identities: Iterable[str]) -> str:
    """Finds what has one of these ids; ids that are none are left out. Empty where none is left."""
    quoted = [f"'{identity}'" for identity in identities if _ID.fullmatch(identity)]
    if len(quoted) > 1:
        return f"{field} IN ({', '.join(quoted)})"
    return f"{field} = {quoted[0]}" if quoted else ""


def _quotes_to_wildcards(text: str) -> str:
    return _UNSAFE.sub("_", text)
