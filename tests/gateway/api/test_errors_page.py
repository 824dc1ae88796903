"""Proves that `docs/errors.md` has every error that the gateway sends, and no other."""

from __future__ import annotations

import ast
import re
from http import HTTPStatus
from pathlib import Path

from gateway.api.errors import _HTTP_PROBLEMS, _STATUS_BY_ERROR

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "errors.md"
CODE = re.compile(r"[A-Z]+(_[A-Z]+)+")


def pairs_of_calls() -> set[tuple[int, str]]:
    """Return each status and code that stand beside each other in a call, such as of HttpError or Problem."""
    found = set()
    for file in (ROOT / "src" / "gateway").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and len(node.args) >= 2:
                status, code = (getattr(argument, "value", None) for argument in node.args[:2])
                if isinstance(status, int) and isinstance(code, str) and CODE.fullmatch(code):
                    found.add((status, code))
    return found


def test_the_catalogue_is_complete() -> None:
    """A row for each status and code of the source; a code that went leaves no row behind."""
    sent = pairs_of_calls() | set(_STATUS_BY_ERROR.values())
    sent |= {(status, code) for status, (code, _) in _HTTP_PROBLEMS.items()}
    assert len(sent) > 20
    rows = re.findall(r"^\| (\d{3}) \| `([A-Z_]+)` \|", PAGE.read_text(), flags=re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert {(int(status), code) for status, code in rows} == sent


def test_each_row_says_whether_to_try_again() -> None:
    """In four cells, of which none is empty; what has Retry-After is a yes."""
    rows = [line for line in PAGE.read_text().splitlines() if re.match(r"\| \d{3} \|", line)]
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert len(cells) == 4
        assert all(cells)
        if int(cells[0]) in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
            assert cells[3].startswith("yes")
