"""Proves a model whose signature calls its columns 0 and 1, with the real application and real workers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from tests.support.codec import tabular
from tests.support.codec.v2_bodies import tensor
from tests.support.gateways import invoke
from workers.protocol.messages import ARROW, CSV, JSON, PARQUET

if TYPE_CHECKING:
    from tests.support.gateways import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")

MODEL = "/model/api-numbered/1"
ROWS = [[1.0, 2.0], [3.0, 4.0]]
TABLE = pa.table({"0": [1.0, 3.0], "1": [2.0, 4.0]})
BODIES: list[tuple[str, bytes]] = [
    (JSON, b'{"dataframe_split": {"columns": [0, 1], "data": [[1, 2], [3, 4]]}}'),
    (JSON, b'{"dataframe_split": {"columns": ["0", "1"], "data": [[1, 2], [3, 4]]}}'),
    (JSON, b'{"dataframe_records": [{"0": 1, "1": 2}, {"0": 3, "1": 4}]}'),
    (JSON, b'{"instances": [[1, 2], [3, 4]]}'),
    (JSON, b'{"inputs": {"0": [1, 3], "1": [2, 4]}}'),
    (JSON, b'[{"0": 1, "1": 2}, {"0": 3, "1": 4}]'),
    (CSV, b"0,1\n1,2\n3,4\n"),
    (PARQUET, tabular.parquet_file(TABLE)),
    (ARROW, tabular.arrow_stream(TABLE)),
]


@pytest.mark.parametrize(("media_type", "body"), BODIES)
async def test_every_form(gateway: Gateway, media_type: str, body: bytes) -> None:
    """Each form is answered."""
    status, answer = await invoke(gateway, f"{MODEL}/invocation", body, **{"Content-Type": media_type})
    assert status == 200, answer
    assert answer["predictions"] == pytest.approx([5.0, 11.0])


async def test_what_does_not_fit(gateway: Gateway) -> None:
    """It is rejected by name, and no worker ends."""
    workers = (await details(gateway))["serving"]["workers"]
    for body in (
        {"dataframe_split": {"columns": [0, 2], "data": ROWS}},
        {"dataframe_records": [{"0": 1}]},
        {"instances": [[1]]},
    ):
        status, error = await invoke(gateway, f"{MODEL}/invocation", json.dumps(body).encode())
        assert (status, error["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), error
        assert error["details"][0]["column"] in {"1", "2"}
    assert (await details(gateway))["serving"]["workers"] == workers


async def test_details(gateway: Gateway) -> None:
    """They show the signature as it is."""
    names = [spec["name"] for spec in (await details(gateway))["signature"]["inputs"]]
    assert names == [0, 1]


async def test_open_inference(gateway: Gateway) -> None:
    """Inputs and outputs have the names that the metadata say."""
    async with gateway.get("/v2/models/api-numbered") as answer:
        metadata = await answer.json()
    assert [each["name"] for each in metadata["inputs"]] == ["0", "1"]
    inputs = [tensor("0", "FP64", [1.0, 3.0]), tensor("1", "FP64", [2.0, 4.0])]
    async with gateway.post("/v2/models/api-numbered/infer", json={"inputs": inputs}) as answer:
        body = await answer.json()
    assert answer.status == 200, body
    assert [each["name"] for each in body["outputs"]] == [each["name"] for each in metadata["outputs"]]
    assert body["outputs"][0]["data"] == pytest.approx([5.0, 11.0])


async def details(gateway: Gateway) -> Any:
    """Return the version's details."""
    async with gateway.get(MODEL) as answer:
        assert answer.status == 200
        return await answer.json()
