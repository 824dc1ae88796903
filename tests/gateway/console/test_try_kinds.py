"""Each kind of signature has a form, whose example is sent as it was logged and as the copied line does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.try_page import TryPage, run_line

if TYPE_CHECKING:
    from tests.support.browser import Browser
    from tests.support.gateways import Gateway

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("try_models")]

# Name, what is filled in, and a part of what the model must then have received.
KINDS: list[tuple[str, dict[str, str], str]] = [
    ("scalars", {}, "int 9007199254740993"),
    ("nested", {}, "int 9007199254740993"),
    ("optional", {"#cell-0-0": "k"}, '"str k"'),
    ("unnamed", {}, "int 3"),
    ("numbered", {}, "float 2.5"),
    ("params", {"#param-1": "9007199254740993"}, "int 9007199254740993"),
    ("tensor", {"#text-0": "[[1, 2, 3.5]]"}, "float64 3.5"),
    ("named", {"#text-1": "[9007199254740993]"}, "int64 9007199254740993"),
    ("pixels", {}, "uint8 0"),
    ("texts", {}, "é"),
    ("unsigned", {}, "int64 1"),
    ("things", {}, "Thing"),
    ("words", {}, "str b"),
    ("hostile", {}, "onerror"),
]


@pytest.mark.parametrize(("name", "filled", "received"), KINDS, ids=[kind[0] for kind in KINDS])
async def test_the_answer_is_that_of_the_copied_line(
    gateway: Gateway, browser: Browser, name: str, filled: dict[str, str], received: str
) -> None:
    """The page shows what the same request answers by curl, and the model received the values exactly."""
    page = await TryPage.open(browser, gateway, f"try-{name}")
    for selector, text in filled.items():
        await page.fill(selector, text)
    shown = await page.predict()
    answered = await run_line(await page.copied("curl"))
    assert shown == _as_shown(answered)
    assert received in json.dumps(answered, ensure_ascii=False)


def _as_shown(answered: dict[str, Any]) -> Any:
    """Return an answer as the page shows it: predictions of one entry per row as the texts of a table."""
    predictions = answered["predictions"]
    if isinstance(predictions, dict):
        lists = list(predictions.values())
        if not all(isinstance(each, list) and len(each) == len(lists[0]) for each in lists):
            return answered
        rows = [list(row) for row in zip(*lists, strict=True)]
    else:
        rows = [list(row.values()) if isinstance(row, dict) else [row] for row in predictions]
    return [
        [cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False) for cell in row]
        for row in rows
    ]
