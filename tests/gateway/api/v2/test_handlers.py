"""Proves the routes of the Open Inference Protocol with the real application."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pytest

from tests.support.codec.v2_bodies import binary_tensor, make_job, tensor
from tests.support.hostile_names import HOSTILE

if TYPE_CHECKING:
    from tests.support.gateways import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")

INPUTS = (tensor("a", "FP64", [1.0, 3.0]), tensor("b", "FP64", [2.0, 4.0], [2, 1]))
LENGTH = "Inference-Header-Content-Length"


async def get(gateway: Gateway, path: str) -> tuple[int, Any]:
    async with gateway.get(path) as answer:
        return answer.status, await answer.json()


async def infer(gateway: Gateway, path: str, *inputs: Any, **top: Any) -> tuple[int, Any]:
    body = make_job(*(inputs or INPUTS), **top).body
    async with gateway.post(path, data=body, headers={"Content-Type": "application/json"}) as answer:
        return answer.status, await answer.json()


async def test_health_and_server(gateway: Gateway) -> None:
    """Each returns JSON, as KServe's client needs; the server is ready once MLflow was reached."""
    await get(gateway, "/v2/models/api-sums")
    assert await get(gateway, "/v2/health/live") == (200, {"live": True})
    assert await get(gateway, "/v2/health/ready") == (200, {"ready": True})
    status, body = await get(gateway, "/v2")
    assert (status, body["name"]) == (200, "model-invocation-endpoint")
    assert body["extensions"] == ["binary_tensor_data", "model_repository"]


async def test_metadata_of_columns(gateway: Gateway) -> None:
    """It comes from the signature, without a worker; `versions` has all READY ones, or the named one."""
    status, body = await get(gateway, "/v2/models/api-sums")
    assert status == 200
    assert body == {
        "name": "api-sums",
        "versions": ["3", "2", "1"],
        "platform": "mlflow_pyfunc",
        "inputs": [
            {"name": name, "datatype": "FP64", "shape": [-1, 1], "parameters": {"content_type": "np"}}
            for name in ("a", "b")
        ],
        "outputs": [],
    }
    _, body = await get(gateway, "/v2/models/api-sums/versions/@champion")
    assert body["versions"] == ["2"]


@pytest.mark.parametrize(
    ("version", "number", "total"),
    [("", "3", 9.0), ("/versions/1", "1", 3.0), ("/versions/latest", "3", 9.0), ("/versions/best", "2", 6.0),
     ("/versions/@champion", "2", 6.0)],
)  # fmt: skip
async def test_infer(gateway: Gateway, version: str, number: str, total: float) -> None:
    """The response names the version for every selector, and repeats the request's id."""
    path = f"/v2/models/api-sums{version}/infer"
    body = make_job(*INPUTS, id="an id").body
    async with gateway.post(path, data=body, headers={"Content-Type": "application/json"}) as answer:
        assert answer.status == 200, await answer.text()
        document = await answer.json()
        assert answer.headers["Model-Name"] == "api-sums"
        assert answer.headers["Model-Version"] == number
        assert answer.headers["X-Request-Id"]
        assert "predict;dur=" in answer.headers["Server-Timing"]
    assert (document["model_name"], document["model_version"], document["id"]) == (
        "api-sums",
        number,
        "an id",
    )
    output = document["outputs"][0]
    assert (output["name"], output["datatype"], output["shape"]) == ("output-0", "FP64", [2, 1])
    assert output["data"][0] == total


async def test_no_content_type(gateway: Gateway) -> None:
    """The body is JSON, or binary if a header says so, because Triton's client sends no type."""
    path = "/v2/models/api-tens/infer"
    async with gateway.post(path, data=make_job(*INPUTS).body, skip_auto_headers=["Content-Type"]) as answer:
        assert (await answer.json())["outputs"][0]["data"] == [30.0, 70.0]
    request = make_job(
        binary_tensor("a", "FP64", [1.0]),
        binary_tensor("b", "FP32", [[2.0]]),
        parameters={"binary_data_output": True},
    )
    headers = {LENGTH: str(request.json_length)}
    async with gateway.post(
        path, data=request.body, headers=headers, skip_auto_headers=["Content-Type"]
    ) as answer:
        assert answer.content_type == "application/octet-stream"
        length = int(answer.headers[LENGTH])
        body = await answer.read()
    document = json.loads(body[:length])
    assert document["model_version"] == "1"
    assert document["outputs"][0]["parameters"] == {"binary_data_size": 8}
    assert np.frombuffer(body[length:]).tolist() == [30.0]


async def test_compressed(gateway: Gateway) -> None:
    """The length of the JSON part counts before compression."""
    request = make_job(binary_tensor("a", "FP64", [1.0]), binary_tensor("b", "FP64", [2.0]))
    headers = {LENGTH: str(request.json_length), "Content-Encoding": "gzip"}
    async with gateway.post(
        "/v2/models/api-tens/infer", data=gzip.compress(request.body), headers=headers
    ) as answer:
        assert (await answer.json())["outputs"][0]["data"] == [30.0]


async def test_hostile_names(gateway: Gateway) -> None:
    """Unusual names are found, and are valid JSON in the response."""
    for name in HOSTILE:
        status, body = await infer(gateway, f"/v2/models/{quote(name, safe='')}/infer")
        assert (status, body["model_name"]) == (200, name)


async def test_nan_is_null(gateway: Gateway) -> None:
    """A NaN becomes null, so that the response is valid JSON."""
    status, body = await infer(gateway, "/v2/models/api-nan/infer", tensor("x", "FP64", [1.0]))
    assert (status, body["outputs"][0]["data"]) == (200, [None, None, 1.5])


async def test_an_experiment(gateway: Gateway) -> None:
    """Its runs are its versions, as in all other routes."""
    status, body = await infer(gateway, "/v2/models/api%2Fforest/versions/1/infer")
    assert (status, body["model_version"], body["outputs"][0]["data"]) == (200, "1", [21.0, 49.0])


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v2/nothing", 404), ("/v2/models/missing", 404), ("/v2/models/missing/ready", 404),
     ("/v2/models/api-sums/9", 404), ("/v2/models/api-sums/versions/01", 404),
     ("/v2/models/api-sums/versions/@missing", 404),
     ("/v2/models/api-sums/infer", 405), ("/v2/repository/index", 405), ("/v2/models/api-prompt", 409),
     ("/v2/models/api%2Fforest/versions/2", 409)],
)  # fmt: skip
async def test_errors_of_get(gateway: Gateway, path: str, status: int) -> None:
    """The body has the one member `error` for every kind of error; a header has the request id."""
    async with gateway.get(path) as answer:
        assert answer.status == status, await answer.text()
        assert answer.content_type == "application/json"
        body = await answer.json()
        assert answer.headers["X-Request-Id"]
    assert list(body) == ["error"]
    assert body["error"]


@pytest.mark.parametrize(
    ("body", "headers", "status", "part"),
    [
        (b"{", {}, 400, "JSON"),
        (b"x" * 1_000_001, {}, 413, "larger"),
        (b"{}", {"Content-Type": "text/csv"}, 415, "application/octet-stream"),
        (b"{}", {"Content-Type": "application/json; charset=latin-1"}, 415, "charset"),
        (b"{}", {"Content-Type": "application/octet-stream"}, 400, LENGTH),
        (b"{}", {LENGTH: "-1"}, 400, LENGTH),
        (b"{}", {LENGTH: "1e3"}, 400, LENGTH),
        (b"{}", {LENGTH: "3"}, 400, LENGTH),
        (b"{}", {"Content-Encoding": "rot13"}, 415, "rot13"),
        (b"{}", {"Content-Encoding": "gzip"}, 400, "Content-Encoding"),
    ],
)
async def test_errors_of_infer(
    gateway: Gateway, body: bytes, headers: dict[str, str], status: int, part: str
) -> None:
    """Errors of headers, bodies and limits have the same form."""
    headers = {"Content-Type": "application/json", **headers}
    async with gateway.post("/v2/models/api-tens/infer", data=body, headers=headers) as answer:
        found = await answer.json()
        assert answer.status == status, found
    assert list(found) == ["error"]
    assert part in found["error"]


async def test_all_wrong_cells(gateway: Gateway) -> None:
    """The message names all wrong cells, because this protocol has no `details`."""
    status, body = await infer(
        gateway, "/v2/models/api-tens/infer", tensor("c", "FP64", [1.0]), tensor("a", "BOOL", [True])
    )
    assert status == 400
    for part in ("'c'", "not a column", "'b'", "missing"):
        assert part in body["error"]


async def test_unknown_output(gateway: Gateway) -> None:
    """The error names the existing outputs."""
    status, body = await infer(gateway, "/v2/models/api-tens/infer", *INPUTS, outputs=[{"name": "y"}])
    assert status == 400
    assert "'output-0'" in body["error"]


async def test_a_model_that_fails(gateway: Gateway) -> None:
    """The error has no trace and no text of the exception; a model that fails to load is not ready."""
    status, body = await infer(
        gateway, "/v2/models/api-commands/infer", tensor("do", "BYTES", ["raise s3cr3t"])
    )
    assert (status, body) == (500, {"error": "The model raised ValueError."})
    status, body = await infer(gateway, "/v2/models/api-broken/infer")
    assert (status, list(body)) == (424, ["error"])
    status, body = await get(gateway, "/v2/models/api-broken/ready")
    assert (status, list(body)) == (424, ["error"])


async def test_model_ready(gateway: Gateway) -> None:
    """A version that can answer is ready, and `state` says whether it is loaded."""
    await infer(gateway, "/v2/models/api-tens/infer")
    expected = {"name": "api-tens", "version": "1", "ready": True, "state": "warm"}
    for path in ("/v2/models/api-tens/ready", "/v2/models/api-tens/versions/latest/ready"):
        assert await get(gateway, path) == (200, expected)
