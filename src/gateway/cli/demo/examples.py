"""The calls that the demo prints: curl commands that work as they are, and what they answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

WINE: Final = {"alcohol": 13.2, "flavanoids": 2.8, "color_intensity": 4.4, "proline": 1050}
NOT_A_NUMBER: Final = {**WINE, "alcohol": "strong"}


@dataclass(frozen=True, slots=True)
class ExampleCall:
    """A curl command, a few words on what it shows, and the status and the text that its answer has."""

    what: str
    command: str
    status: int
    answer: str


def example_calls(base: str) -> tuple[ExampleCall, ...]:
    """Return a prediction and a refused input, sent to the gateway at `base`."""
    url = f"{base}/model/wine/@champion/invocation"
    return (
        ExampleCall(
            "a prediction: of the three cultivars 0, 1 and 2, which one is this wine?",
            _post(url, WINE),
            200,
            '"predictions":[0]',
        ),
        ExampleCall(
            "a refused input, with its row, its column and the reason",
            _post(url, NOT_A_NUMBER),
            400,
            '{"row":0,"column":"alcohol","reason":"not a number, expected a double"}',
        ),
    )


def request_loop(base: str) -> str:
    """Return a shell's loop that asks for a prediction again and again, and shows each answer."""
    return f"while sleep 0.2; do {_post(f'{base}/model/wine/@champion/invocation', WINE)}; echo; done"


def _post(url: str, row: dict[str, Any]) -> str:
    body = json.dumps({"dataframe_records": [row]})
    return f"curl -s '{url}' -H 'Content-Type: application/json' -d '{body}'"
