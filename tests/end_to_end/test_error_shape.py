"""Proves that every error has the same JSON form and reveals no internals."""

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
    """Return the arguments of a request that has the model `api-commands` run the command."""
    return {"data": json.dumps({"inputs": [{"do": command}]}), "headers": JSON}


SUMS = "/model/api-sums/1/invocation"
COMMANDS = "/model/api-commands/1/invocation"
CASES: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("GET", "/nothing/here", {}, 404, "ENDPOINT_NOT_FOUND"),
    ("GET", "/nowhere", {}, 404, "ENDPOINT_NOT_FOUND"),
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
]


@pytest.mark.parametrize("case", CASES)
async def test_the_form(gateway: Gateway, case: tuple[str, str, dict[str, Any], int, str]) -> None:
    """An error has a code, a message and a request id, but no traceback, file path or input data."""
    await check_form(gateway, *case)


async def test_the_form_of_a_timeout(gateway_with_short_timeout: Gateway) -> None:
    """The error of a prediction that takes too long has the same form."""
    await check_form(gateway_with_short_timeout, "POST", COMMANDS, do("sleep 1000"), 504, "DEADLINE_EXCEEDED")


async def check_form(  # noqa: PLR0917 - the columns of the table above
    gateway: Gateway, method: str, path: str, call: dict[str, Any], status: int, code: str
) -> None:
    async with gateway.request(method, path, **call) as response:
        text = await response.text()
        assert response.status == status, text
        assert response.content_type == "application/json"
        assert (response.status == 405) == ("Allow" in response.headers)
        error = json.loads(text)
        assert error["error_code"] == code
        assert error["request_id"] == response.headers["X-Request-Id"]
        assert set(error) <= {"error_code", "message", "request_id", "details", "details_total"}
        assert error["message"]
        # The error may repeat the requested path and name.
        rest = text.replace(path, "").replace("s3cr3t/../etc", "")
        assert not LEAK.search(rest), rest


async def test_the_reason_of_a_failed_load(gateway: Gateway) -> None:
    """It names a missing package and the command to install it, or else the type of the exception."""
    async with gateway.post("/model/api-lacking/1/invocation", json={"inputs": [1]}) as answer:
        message = (await answer.json())["message"]
        assert "a_missing_package" in message
        assert message.endswith("to install them: pip install a-missing-package==1.0")
    async with gateway.post("/model/api-broken/1/invocation", json={"inputs": [1]}) as answer:
        assert "RuntimeError" in (await answer.json())["message"]
    async with gateway.get("/model/api-broken/1") as answer:
        serving = (await answer.json())["serving"]
        assert serving["state"] == "failed"
        assert not LEAK.search(serving["reason"])


async def test_the_log_has_the_details(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    """One record with the request's id has route, model, status, and the exception with its traceback."""
    caplog.clear()
    call = do("raise s3cr3t")
    call["headers"] = {**JSON, "X-Request-Id": "find-me"}
    async with gateway.post(COMMANDS, **call) as answer:
        assert answer.status == 500
    (record,) = [record for record in caplog.records if getattr(record, "request_id", "") == "find-me"]
    fields = vars(record)
    assert fields["event"] == "request_failed"
    assert (fields["status"], fields["model"]) == (500, "api-commands/1")
    assert fields["route"] == "POST /model/{name}/{version}/invocation"
    assert "s3cr3t" in fields["reason"]
    assert "Traceback" in fields["log"]


async def test_successes_and_client_errors_are_not_logged(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has no record for a request that succeeds or that the client got wrong."""
    assert (await gateway.post(SUMS, data=BODY, headers=JSON)).status == 200
    caplog.clear()
    assert (await gateway.post(SUMS, data=BODY, headers=JSON)).status == 200
    assert (await gateway.get("/model/unknown")).status == 404
    assert [record for record in caplog.records if record.name.startswith("gateway.api")] == []


async def test_the_setting_passes_a_models_exception_on(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """The client gets the text of a model's exception only if the operator allows it."""
    verbose = gateway_at(mlflow_server.url, tmp_path, GATEWAY_MODEL_ERROR_TEXT="true")
    async with verbose as gateway, gateway.post(COMMANDS, **do("raise why")) as answer:
        text = await answer.text()
        assert (answer.status, json.loads(text)["error_code"]) == (500, "MODEL_ERROR")
    assert "ValueError" in text
    assert "why" in text
