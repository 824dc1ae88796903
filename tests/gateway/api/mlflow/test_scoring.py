"""Proves that a version's address has the routes of `mlflow models serve`, with its answers."""

from __future__ import annotations

import json
import logging
import re
from importlib import metadata
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from gateway.api.keys import COMPONENTS
from tests.support.gateways import BODY, Gateway, gateway_at, invoke
from tests.support.hostile_names import HOSTILE
from tests.support.metrics_page import Shown

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

JSON = {"Content-Type": "application/json"}


def do(command: str) -> bytes:
    """Return the body that has the model `api-commands` run the command."""
    return json.dumps({"inputs": [{"do": command}]}).encode()


async def predictions_total(gateway: Gateway, **labels: str) -> float:
    async with gateway.get("/metrics") as answer:
        return Shown(await answer.text()).of("gateway_predictions_total", **labels)


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("prefix", ["/model", "/models"])
@pytest.mark.parametrize(("version", "number"), [("2", 2), ("@champion", 2), ("best", 2), ("latest", 3)])
async def test_invocations(gateway: Gateway, prefix: str, version: str, number: int, slash: str) -> None:
    """The answer has `predictions` and no more; headers name the version."""
    path = f"{prefix}/api-sums/{version}/invocations{slash}"
    async with gateway.post(path, data=BODY, headers=JSON) as answer:
        assert await answer.json() == {"predictions": [3.0 * number, 7.0 * number]}
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
        assert (answer.headers["Model-Name"], answer.headers["Model-Version"]) == ("api-sums", str(number))
        assert "predict;dur=" in answer.headers["Server-Timing"]


async def test_the_id_of_a_run(gateway: Gateway, registered: list[str]) -> None:
    """An id stands where a version stands, for the run of an experiment too."""
    path = f"/model/api%2Fforest/{registered[0]}/invocations"
    assert await invoke(gateway, path) == (200, {"predictions": [21.0, 49.0]})


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_names(gateway: Gateway, name: str) -> None:
    """A name is decoded exactly once."""
    base = f"/model/{quote(name, safe='')}/latest"
    assert (await invoke(gateway, f"{base}/invocations"))[0] == 200
    async with gateway.get(f"{base}/ping") as answer:
        assert answer.status == 200


@pytest.mark.parametrize("accept", ["text/csv", "text/plain", "text/event-stream", "image/png;q=0", "*/*"])
async def test_accept_is_ignored(gateway: Gateway, accept: str) -> None:
    """MLflow's server does not read it either: the answer is JSON."""
    path = "/model/api-sums/1/invocations?stream=true"
    assert await invoke(gateway, path, Accept=accept) == (200, {"predictions": [3.0, 7.0]})


async def test_csv(gateway: Gateway) -> None:
    """A table is a body as there, also with a charset."""
    headers = {"Content-Type": "text/csv; charset=UTF-8"}
    path = "/model/api-sums/1/invocations"
    async with gateway.post(path, data=b"a,b\n1,2\n", headers=headers) as answer:
        assert (answer.status, await answer.json()) == (200, {"predictions": [3.0]})


async def test_a_large_answer(gateway: Gateway) -> None:
    """One that is sent in pieces is valid JSON of the same form."""
    status, answer = await invoke(gateway, "/model/api-commands/1/invocations", do("fill 2000000"))
    assert (status, answer.keys(), len(answer["predictions"][0])) == (200, {"predictions"}, 2_000_000)


async def test_an_unwrapped_answer(gateway: Gateway) -> None:
    """A body of the unified LLM kind gets the model's own answer, as there."""
    body = json.dumps({"messages": [{"role": "user", "content": "hello"}]}).encode()
    status, answer = await invoke(gateway, "/model/api-chat/1/invocations", body)
    assert status == 200
    assert answer["messages"][0]["content"] == "hello"
    assert "predictions" not in answer


@pytest.mark.parametrize(
    "base", ["/model/api-commands/1", "/endpoints/api-commands", "/endpoints/api-commands/1"]
)
async def test_an_exception_of_the_model(
    gateway: Gateway, caplog: pytest.LogCaptureFixture, base: str
) -> None:
    """It is 400 as there, which MLflow's clients do not repeat; only the log has the trace."""
    with caplog.at_level(logging.WARNING):
        status, error = await invoke(gateway, f"{base}/invocations", do("raise s3cr3t"))
    assert (status, error["error_code"]) == (400, "BAD_REQUEST")
    assert "ValueError" in error["message"]
    assert error.keys() == {"error_code", "message", "request_id"}
    assert not re.search("s3cr3t|Traceback|/secret", json.dumps(error))
    (record,) = [each for each in caplog.records if getattr(each, "event", "") == "request_failed"]
    fields: dict[str, Any] = vars(record)
    assert (fields["status"], fields["request_id"]) == (400, error["request_id"])
    assert "s3cr3t in /secret/path" in fields["log"]


async def test_an_ended_worker(gateway: Gateway) -> None:
    """That is no fault of the request, so it is 500 here too."""
    status, error = await invoke(gateway, "/model/api-commands/1/invocations", do("die"))
    assert (status, error["error_code"]) == (500, "MODEL_ERROR")


@pytest.mark.parametrize("text", ["false", "true"])
async def test_the_text_of_the_exception(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path, text: str
) -> None:
    """GATEWAY_MODEL_ERROR_TEXT decides about it, as on every other route."""
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_MODEL_ERROR_TEXT=text) as gateway:
        _, error = await invoke(gateway, "/model/api-commands/1/invocations", do("raise s3cr3t"))
    assert ("s3cr3t" in error["message"]) is (text == "true")


async def test_wrong_cells(gateway: Gateway) -> None:
    """They are named as on every other route."""
    body = b'{"dataframe_records": [{"a": "x", "b": 1}]}'
    status, error = await invoke(gateway, "/model/api-sums/1/invocations", body)
    assert (status, error["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert [(cell["row"], cell["column"]) for cell in error["details"]] == [(0, "a")]


@pytest.mark.parametrize("path", ["ping", "health"])
@pytest.mark.parametrize("version", ["1", "@champion", "best", "latest"])
async def test_ping(gateway: Gateway, version: str, path: str) -> None:
    """The body is a newline that is called JSON, as there."""
    async with gateway.get(f"/model/api-sums/{version}/{path}") as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
        assert await answer.read() == b"\n"
    async with gateway.head(f"/model/api-sums/{version}/{path}") as answer:
        assert (answer.status, await answer.read()) == (200, b"")


async def test_version(gateway: Gateway) -> None:
    """It is MLflow's, without quotes."""
    async with gateway.get("/model/api-sums/1/version") as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
        assert await answer.text() == metadata.version("mlflow")


async def test_nothing_is_loaded(gateway: Gateway) -> None:
    """A monitor that pings every model warms none of them."""
    for path in ("ping", "health", "version"):
        async with gateway.get(f"/model/api-slowest/1/{path}") as answer:
            assert answer.status == 200
    assert "api-slowest" not in {key.name for key in gateway.app[COMPONENTS].engine.statuses()}


@pytest.mark.parametrize("path", ["ping", "health", "version"])
@pytest.mark.parametrize(
    ("model", "status"),
    [
        ("api-none/1", 404),
        ("api-sums/99", 404),
        ("api-sums/@none", 404),
        ("api-sums/x", 404),
        ("api%2Fforest/2", 409),
        ("api-tens/best", 422),
    ],
)
async def test_what_cannot_answer_has_no_ping(gateway: Gateway, model: str, status: int, path: str) -> None:
    """The status is what a prediction gets."""
    async with gateway.get(f"/model/{model}/{path}") as answer:
        assert answer.status == status
        assert (await answer.json()).keys() == {"error_code", "message", "request_id"}
    assert (await invoke(gateway, f"/model/{model}/invocations"))[0] == status


async def test_ping_after_a_failed_load(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """It is 424 with the reason, until the load is tried again."""
    async with gateway_at(mlflow_server.url, tmp_path) as gateway:
        async with gateway.get("/model/api-broken/1/ping") as answer:
            assert answer.status == 200
        assert (await invoke(gateway, "/model/api-broken/1/invocations"))[0] == 424
        async with gateway.get("/model/api-broken/1/ping") as answer:
            assert (answer.status, (await answer.json())["error_code"]) == (424, "INVALID_STATE")


async def test_metrics(gateway: Gateway) -> None:
    """Its requests count as predictions, under the pattern of the route."""
    version = {"model": "api-commands", "version": "1"}
    before = [await predictions_total(gateway, code=code, **version) for code in ("200", "400")]
    assert (await invoke(gateway, "/model/api-commands/1/invocations", do("say a")))[0] == 200
    assert (await invoke(gateway, "/endpoints/api-commands/invocations", do("raise b")))[0] == 400
    after = [await predictions_total(gateway, code=code, **version) for code in ("200", "400")]
    assert [new - old for new, old in zip(after, before, strict=True)] == [1, 1]
    async with gateway.get("/metrics") as answer:
        page = Shown(await answer.text())
    for route in ("/model/{name}/{version}/invocations", "/endpoints/{name}/invocations"):
        assert page.of("gateway_http_requests_total", method="POST", route=route) > 0
