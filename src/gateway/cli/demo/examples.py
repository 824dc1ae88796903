"""The calls that the demo prints: curl commands that work as they are."""

from __future__ import annotations

import json
import shlex
from typing import Any

WINE = {"alcohol": 13.2, "flavanoids": 2.8, "color_intensity": 4.4, "proline": 1050}
IRIS = {"species": "setosa", "measured_on": "2024-05-03", "sepal_length": 5.1, "sepal_width": 3.5}
TUMOUR = {"mean radius": 18.0, "mean texture": 10.4, "mean concavity": 0.3}


def example_calls(base: str) -> list[tuple[str, str]]:
    """Return each call to the gateway at `base`, after a few words on what it shows."""
    wine = f"{base}/model/wine"
    return [
        ("every model", _get(f"{base}/model/")),
        ("one model and its versions", _get(wine)),
        ("one version", _get(f"{wine}/2")),
        ("predict, by number", _post(f"{wine}/1/invocation", WINE)),
        ("by alias", _post(f"{wine}/@champion/invocation", WINE)),
        ("the newest version", _post(f"{wine}/invocation/latest", WINE)),
        ("the best version by a metric", _post(f"{wine}/invocation/best?metric=accuracy", WINE)),
        ("text and dates", _post(f"{base}/model/iris-petals/invocation/latest", IRIS)),
        ("a run of an experiment", _post(f"{base}/model/forest/2/invocation", TUMOUR)),
    ]


def _get(url: str) -> str:
    return f"curl -s {shlex.quote(url)}"  # a shell may take the brackets of an IPv6 address as a pattern


def _post(url: str, row: dict[str, Any]) -> str:
    body = json.dumps({"dataframe_records": [row]})
    return f"curl -s '{url}' -H 'Content-Type: application/json' -d '{body}'"
