"""Proves that every error has the one shape and says nothing that it must not say."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateways import BODY, Gateway, gateway_at

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

LEAK = re.compile(r'Traceback|File "|site-packages|\.py\b|/secret|/tmp|/home|/root|0x[0-9a-f]{6}|s3cr3t')
JSON = {"Content-Type": "application/json"}


def do(command: str) -> dict[str, Any]:
    return {"data": json.dumps({"inputs": [{"do": command}]}), "headers": JSON}


SUMS = "/model/api-sums/1/invocation"
COMMANDS = "/model/api-commands/1/invocation"
CASES: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("GET", "/nothing/here", {}, 404, "ENDPOINT_NOT_FOUND"),
    ("GET", "/", {}, 404, "ENDPOINT_NOT_FOUND"),
    ("GET", "/model?max_results=0", {}, 400, "INVALID_PARAMETER_VALUE"),
    ("GET", "/model/s3cr3t%2F..%2Fetc", {}, 404, "RESOURCE_DOES_NOT_EXIST"),
    ("GET", "/model/api-sums/7", {}, 404, "RESOURCE_DOES_NOT_EXIST"),
    ("PUT", "/model/api-sums/1", {}, 405, "BAD_REQUEST"),
    ("GET", SUMS, {}, 405, "BAD_REQUEST"),
    ("POST", SUMS, {"data": b"{s3cr3t", "headers": JSON}, 400, "INVALID_PARAMETER_VALUE"),
    (
        "POST",
        SUMS,
        {"json": {"dataframe_records": [{"a": "s3cr3t", "b": 1}]}},
        400,
        "INVALID_PARAMETER_VALUE",
    ),
    ("POST", SUMS, {"data": BODY, "headers": {**JSON, "Accept": "image/png"}}, 406, "BAD_REQUEST"),
    ("POST", "/model/api%2Fforest/2/invocation", {"json": {}}, 409, "RESOURCE_CONFLICT"),
    ("POST", SUMS, {"data": b" " * 1_000_001, "headers": JSON}, 413, "RESOURCE_LIMIT_EXCEEDED"),
    ("POST", SUMS, {"data": BODY, "headers": {"Content-Type": "text/html"}}, 415, "INVALID_PARAMETER_VALUE"),
    (
        "POST",
        "/model/api-sums/best/invocation?metric=no&order=min",
        {"json": {}},
        422,
        "INVALID_PARAMETER_VALUE",
    ),
    ("POST", "/model/api-broken/1/invocation", {"json": {"inputs": [1]}}, 424, "INVALID_STATE"),
    ("POST", "/model/api-lacking/1/invocation", {"json": {"inputs": [1]}}, 424, "INVALID_STATE"),
    ("POST", "/model/api-lost/1/invocation", {"json": {"inputs": [1]}}, 424, "INVALID_STATE"),
    ("POST", "/model/api-prompt/1/invocation", {"json": {"inputs": [1]}}, 409, "RESOURCE_CONFLICT"),
    ("POST", COMMANDS, do("raise s3cr3t"), 500, "MODEL_ERROR"),
    ("POST", COMMANDS, do("die"), 500, "MODEL_ERROR"),
    ("POST", COMMANDS, do("sleep 30"), 504, "DEADLINE_EXCEEDED"),
]


@pytest.mark.parametrize("case", CASES)
async def test_the_shape(gateway: Gateway, case: tuple[str, str, dict[str, Any], int, str]) -> None:
    """Code, message and request id, the id in the header too; no trace, no path, no data."""
    method, path, call, status, code = case
    async with gateway.request(method, path, **call) as answer:
        text = await answer.text()
        assert answer.status == status, text
        assert answer.content_type == "application/json"
        assert (answer.status == 405) == ("Allow" in answer.headers)
        error = json.loads(text)
        assert error["error_code"] == code
        assert error["request_id"] == answer.headers["X-Request-Id"]
        assert set(error) <= {"error_code", "message", "request_id", "details"}
        assert error["message"]
        said = text.replace(path, "").replace(
            "s3cr3t/../etc", ""
        )  # a name that was asked for may be said back
        assert not LEAK.search(said), said


async def test_what_a_model_lacks_is_named(gateway: Gateway) -> None:
    """The missing package is named, and the line to install it; the exception's type where it is another."""
    async with gateway.post("/model/api-lacking/1/invocation", json={"inputs": [1]}) as answer:
        message = (await answer.json())["message"]
        assert "a_package_that_nobody_has" in message
        assert message.endswith("to install them: pip install a-missing-package==1.0")
    async with gateway.post("/model/api-broken/1/invocation", json={"inputs": [1]}) as answer:
        assert "RuntimeError" in (await answer.json())["message"]
    async with gateway.get("/model/api-broken/1") as answer:
        serving = (await answer.json())["serving"]
        assert serving["state"] == "failed"
        assert not LEAK.search(serving["reason"])


async def test_the_log_has_what_the_client_has_not(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    """One line under the request's id: route, model, status, and the exception with its text and trace."""
    caplog.clear()
    call = do("raise s3cr3t")
    call["headers"] = {**JSON, "X-Request-Id": "find-me"}
    async with gateway.post(COMMANDS, **call) as answer:
        assert answer.status == 500
    (record,) = [record for record in caplog.records if getattr(record, "request_id", "") == "find-me"]
    told = vars(record)
    assert (told["status"], told["model"]) == (500, "api-commands/1")
    assert told["route"] == "POST /model/{name}/{version}/invocation"
    assert "s3cr3t" in told["reason"]
    assert "Traceback" in told["log"]


async def test_successes_and_refusals_are_not_logged(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    """A line per request is what the log is not for."""
    assert (await gateway.post(SUMS, data=BODY, headers=JSON)).status == 200
    caplog.clear()
    assert (await gateway.post(SUMS, data=BODY, headers=JSON)).status == 200
    assert (await gateway.get("/model/nobody")).status == 404
    assert [record for record in caplog.records if record.name.startswith("gateway.api")] == []


async def test_the_setting_lets_a_models_text_through(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """The exception's text reaches the client only where the operator says so."""
    telling = gateway_at(mlflow_server.url, tmp_path, GATEWAY_MODEL_ERROR_TEXT="true")
    async with telling as gateway, gateway.post(COMMANDS, **do("raise why")) as answer:
        text = await answer.text()
        assert (answer.status, json.loads(text)["error_code"]) == (500, "MODEL_ERROR")
    assert "ValueError" in text
    assert "why" in text
