"""Many at once for one model over HTTP: whoever shares a call with others never notices."""

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
    """Some wines."""
    return json.dumps({"dataframe_split": {"columns": NAMES, "data": [list(row) for row in rows]}}).encode()


async def test_two_hundred_at_once_have_their_own_answers(gateway: Gateway) -> None:
    """Of one row and of several, with bad ones among them: each answer is that of the body alone."""
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
    answers = await asyncio.gather(*(invoke(gateway, WINE, each) for each in bodies))
    assert [number for number, (status, _) in enumerate(answers) if status != 200] == [3, 77]
    assert {number: answers[number][1]["predictions"] for number in alone} == alone
    assert len({tuple(one["predictions"]) for status, one in answers if status == 200}) > 2


async def test_the_version_tells_how_it_is_batched(gateway: Gateway) -> None:
    """With the reason, for whoever wonders why a model is slow."""
    await invoke(gateway, WINE, body((13.0, 2.0, 4.0, 1000.0)))
    async with gateway.get("/model/api-wine/1") as answer:
        told = (await answer.json())["serving"]["batching"]
    assert told["rows_together"] is True
    assert told["reason"]
    await invoke(gateway, "/model/api-sums/2/invocation")
    async with gateway.get("/model/api-sums/2") as answer:
        told = (await answer.json())["serving"]["batching"]
    assert told == {
        "rows_together": False,
        "reason": "its flavor, mlflow.pyfunc.model, does not promise to predict row by row",
    }
