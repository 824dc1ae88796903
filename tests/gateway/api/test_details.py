"""How many invalid cells a refusal names: five, or as many as the request asks for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateways import invoke

if TYPE_CHECKING:
    from tests.support.gateways import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATH = "/model/api-sums/1/invocation"


def _body(rows: int) -> bytes:
    return json.dumps({"dataframe_split": {"columns": ["a", "b"], "data": [["x", 1.0]] * rows}}).encode()


@pytest.mark.parametrize(("query", "named"), [("", 5), ("?details=1", 1), ("?details=100", 100)])
async def test_as_many_as_asked(gateway: Gateway, query: str, named: int) -> None:
    """All invalid cells are counted, those that are not named too."""
    status, answer = await invoke(gateway, PATH + query, _body(120))
    assert status == 400
    assert [(cell["row"], cell["column"]) for cell in answer["details"]] == [
        (row, "a") for row in range(named)
    ]
    assert answer["details_total"] == 120
    assert "details_total_exact" not in answer
    assert f"There are {120 - named} more" in answer["message"]


async def test_the_count_has_a_bound(gateway: Gateway) -> None:
    """The body says that there are more than it counts."""
    _, answer = await invoke(gateway, f"{PATH}?details=7", _body(1500))
    assert (len(answer["details"]), answer["details_total"]) == (7, 1000)
    assert answer["details_total_exact"] is False


async def test_csv(gateway: Gateway) -> None:
    """The number is that of the request, whatever the form of its body."""
    async with gateway.post(
        f"{PATH}?details=9", data=b"a,b\n" + b"x,1\n" * 30, headers={"Content-Type": "text/csv"}
    ) as response:
        answer = await response.json()
    assert (len(answer["details"]), answer["details_total"]) == (9, 30)


async def test_streams(gateway: Gateway) -> None:
    """A stream that is refused before its first chunk names as many."""
    body = json.dumps({"dataframe_split": {"columns": ["do"], "data": [[1]] * 20}}).encode()
    status, answer = await invoke(gateway, "/model/api-streams/1/invocation?stream=true&details=8", body)
    assert (status, len(answer["details"]), answer["details_total"]) == (400, 8, 20)


@pytest.mark.parametrize("wrong", ["0", "101", "-1", "five", "", "1e1", "%C2%B2"])
async def test_a_wrong_number(gateway: Gateway, wrong: str) -> None:
    """The error says which numbers are right."""
    status, answer = await invoke(gateway, f"{PATH}?details={wrong}")
    assert (status, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "from 1 to 100" in answer["message"]


async def test_open_inference_is_as_before(gateway: Gateway) -> None:
    """Its errors have nothing but a message, which names five cells."""
    tensors: Any = [
        {"name": "a", "shape": [9], "datatype": "BYTES", "data": ["x"] * 9},
        {"name": "b", "shape": [9], "datatype": "FP64", "data": [1.0] * 9},
    ]
    status, answer = await invoke(
        gateway, "/v2/models/api-sums/versions/1/infer?details=9", json.dumps({"inputs": tensors}).encode()
    )
    assert (status, list(answer)) == (400, ["error"])
    assert answer["error"].count("row ") == 5
