"""Proves that a version's address answers as `mlflow models serve` does for the same version."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp
import pytest
import pytest_asyncio

from tests.zoo.served import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.gateways import Gateway
    from tests.support.mlflow_server import MlflowServer

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
SAY = {"do": "say a"}


class Asked(NamedTuple):
    """A request for a prediction, and the status of both answers."""

    body: Any
    status: int = 200
    content_type: str = JSON
    accept: str = "*/*"


CASES = {
    "records": Asked({"dataframe_records": [SAY]}),
    "columns and rows": Asked({"dataframe_split": {"columns": ["do"], "data": [["say ö"]]}}),
    "instances": Asked({"instances": [SAY]}),
    "inputs": Asked({"inputs": [SAY]}),
    "inputs by column": Asked({"inputs": {"do": ["say a", "say b"]}}),
    "what other servers know": Asked({"inputs": [SAY], "client_request_id": "1"}),
    "csv": Asked(b'do\n"say a, b"\n', content_type=CSV),
    "csv with a charset": Asked(b"do\nsay a\n", content_type="text/csv; charset=utf-8"),
    "an Accept that is no JSON": Asked({"inputs": [SAY]}, accept="text/csv"),
    "an Accept of nothing": Asked({"inputs": [SAY]}, accept="image/png"),
    "no JSON": Asked(b"{", 400),
    "no UTF-8": Asked(b'{"inputs": ["\xff"]}', 400),
    "a number": Asked(b"1", 400),
    "no data": Asked({"x": 1}, 400),
    "two forms": Asked({"inputs": [SAY], "instances": [SAY]}, 400),
    "another column": Asked({"dataframe_records": [{"other": "say a"}]}, 400),
    "no csv": Asked(b'do\n"say', 400, CSV),
    "no parquet": Asked(b"x", 400, PARQUET),
    "an exception of the model": Asked({"inputs": [{"do": "raise it"}]}, 400),
    "another type": Asked(b"x", 415, "image/png"),
    "another charset": Asked({"inputs": [SAY]}, 415, "application/json; charset=latin1"),
    "another parameter": Asked({"inputs": [SAY]}, 415, "application/json; version=1"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def there(
    mlflow_server: MlflowServer, registered: list[str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the command's server."""
    folder = tmp_path_factory.mktemp("served")
    with served("models:/api-commands/1", folder, MLFLOW_TRACKING_URI=mlflow_server.url) as url:
        # It closes the connection after a 500 without saying so.
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(url.removesuffix("invocations"), connector=connector) as session:
            yield session


async def test_the_same_answers(gateway: Gateway, there: aiohttp.ClientSession) -> None:
    """Equal status for every body, equal JSON for every prediction; an error has a code and a message."""
    for name, asked in CASES.items():
        body = asked.body if isinstance(asked.body, bytes) else json.dumps(asked.body).encode()
        sent: dict[str, Any] = {
            "data": body,
            "headers": {"Content-Type": asked.content_type, "Accept": asked.accept},
        }
        async with (
            there.post("invocations", **sent) as theirs,
            gateway.post("/model/api-commands/1/invocations", **sent) as ours,
        ):
            answer = await ours.json()
            assert (theirs.status, ours.status) == (asked.status, asked.status), (name, answer)
            if asked.status == 200:
                assert answer == await theirs.json(), name
                assert answer.keys() == {"predictions"}, name
                assert ours.headers["Content-Type"] == theirs.headers["Content-Type"], name
                continue
            assert answer["error_code"] in {"BAD_REQUEST", "INVALID_PARAMETER_VALUE"}, name
            assert answer["message"], name
            assert answer.keys() <= {"error_code", "message", "request_id", "details", "details_total"}, name
            if asked.status == 400:
                assert {"error_code", "message"} <= (await theirs.json()).keys(), name


@pytest.mark.parametrize("path", ["ping", "health", "version"])
async def test_the_same_health(gateway: Gateway, there: aiohttp.ClientSession, path: str) -> None:
    """Byte for byte, with the same type."""
    async with there.get(path) as theirs, gateway.get(f"/model/api-commands/1/{path}") as ours:
        assert (ours.status, await ours.read()) == (theirs.status, await theirs.read())
        assert ours.headers["Content-Type"] == theirs.headers["Content-Type"]


async def test_the_same_methods(gateway: Gateway, there: aiohttp.ClientSession) -> None:
    """Other methods are refused by both."""
    for method, path in (("GET", "invocations"), ("POST", "ping"), ("PUT", "version")):
        async with (
            there.request(method, path) as theirs,
            gateway.request(method, f"/model/api-commands/1/{path}") as ours,
        ):
            assert (theirs.status, ours.status) == (405, 405)


async def test_what_is_read_here_and_not_there(gateway: Gateway, there: aiohttp.ClientSession) -> None:
    """A body without a type, a list of records, and rows whose columns are in order."""
    body = json.dumps({"inputs": [SAY]}).encode()
    skipped = ("Content-Type",)
    async with (
        there.post("invocations", data=body, skip_auto_headers=skipped) as theirs,
        gateway.post("/model/api-commands/1/invocations", data=body, skip_auto_headers=skipped) as ours,
    ):
        assert (theirs.status, ours.status) == (500, 200)
    for document in ([SAY], {"dataframe_split": {"data": [["say a"]]}}):
        async with (
            there.post("invocations", json=document) as theirs,
            gateway.post("/model/api-commands/1/invocations", json=document) as ours,
        ):
            assert (theirs.status, ours.status) == (400, 200)
