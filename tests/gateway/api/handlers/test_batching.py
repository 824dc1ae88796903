"""Proves that requests which share a call of the model get their own predictions."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateways import Gateway, invoke

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.asyncio(loop_scope="session")

NAMES = ["alcohol", "flavanoids", "color_intensity", "proline"]
WINE = "/model/api-wine/1/invocation"


def body(*rows: Sequence[float]) -> bytes:
    """Return a body with these rows."""
    return json.dumps({"dataframe_split": {"columns": NAMES, "data": [list(row) for row in rows]}}).encode()


async def test_two_hundred_requests_at_once(gateway: Gateway) -> None:
    """Each gets the predictions that it would get alone, also beside invalid requests."""
    wines = [
        (11.0 + number / 50, 0.4 + number / 60, 2.0 + number / 25, 300.0 + 7 * number)
        for number in range(200)
    ]
    alone: dict[int, Any] = {}
    for number in range(0, 200, 10):
        alone[number] = (await invoke(gateway, WINE, body(wines[number], wines[-number - 1])))[1][
            "predictions"
        ]
    bodies = [body(wine, wines[-number - 1]) for number, wine in enumerate(wines)]
    bodies[3] = body((1.0, 2.0, 3.0))
    bodies[77] = bodies[77].replace(b"alcohol", b"al")
    results = await asyncio.gather(*(invoke(gateway, WINE, each) for each in bodies))
    assert [number for number, (status, _) in enumerate(results) if status != 200] == [3, 77]
    assert {number: results[number][1]["predictions"] for number in alone} == alone
    assert len({tuple(one["predictions"]) for status, one in results if status == 200}) > 2


async def test_a_version_says_how_it_is_batched(gateway: Gateway) -> None:
    """It names the reason, for operators who wonder why a model is slow."""
    await invoke(gateway, WINE, body((13.0, 2.0, 4.0, 1000.0)))
    async with gateway.get("/model/api-wine/1") as answer:
        batching = (await answer.json())["serving"]["batching"]
    assert batching["rows_together"] is True
    assert batching["reason"]
    await invoke(gateway, "/model/api-sums/2/invocation")
    async with gateway.get("/model/api-sums/2") as answer:
        batching = (await answer.json())["serving"]["batching"]
    assert batching == {
        "rows_together": False,
        "reason": "its flavor, mlflow.pyfunc.model, does not promise to predict row by row",
    }
