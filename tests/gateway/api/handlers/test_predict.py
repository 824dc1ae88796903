"""Proves the invocation routes with real models in real workers."""

from __future__ import annotations

import gzip
import json
from urllib.parse import quote, unquote

import pytest

from tests.support.gateways import BODY, Gateway, invoke
from tests.support.hostile_names import HOSTILE

pytestmark = pytest.mark.asyncio(loop_scope="session")

JSON = {"Content-Type": "application/json"}
VERSION_2 = {"predictions": [6.0, 14.0], "model": {"name": "api-sums", "version": "2", "source": "registry"}}
BEST = {"best": {"metric": "rmse", "value": 0.5, "order": "min"}}


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("prefix", ["/model", "/models"])
@pytest.mark.parametrize("path", ["{}/invocation", "invocation/{}"])
@pytest.mark.parametrize("version", ["2", "@champion", "best", "latest"])
async def test_every_route_and_selector(
    gateway: Gateway, prefix: str, path: str, version: str, slash: str
) -> None:
    """A number, an alias, `best` and `latest` work in all routes."""
    status, answer = await invoke(gateway, f"{prefix}/api-sums/{path.format(version)}{slash}")
    assert status == 200
    if version == "latest":
        assert answer == {
            "predictions": [9.0, 21.0],
            "model": {"name": "api-sums", "version": "3", "source": "registry"},
        }
    else:
        assert answer == (VERSION_2 | BEST if version == "best" else VERSION_2)


async def test_best_by_metric_and_order(gateway: Gateway) -> None:
    """The parameters decide, and the response says which metric decided."""
    status, answer = await invoke(gateway, "/model/api-sums/invocation/best?metric=rmse&order=max")
    assert status == 200
    assert answer["model"]["version"] == "1"
    assert answer["best"] == {"metric": "rmse", "value": 0.9, "order": "max"}
    assert answer["predictions"] == [3.0, 7.0]


async def test_the_headers(gateway: Gateway) -> None:
    """They name the version, the request id, and the time of each phase."""
    headers = {"X-Request-Id": "my-own.id", **JSON}
    async with gateway.post("/model/api-sums/2/invocation", data=BODY, headers=headers) as answer:
        assert answer.status == 200
        assert answer.content_type == "application/json"
        assert answer.headers["X-Request-Id"] == "my-own.id"
        assert (answer.headers["Model-Name"], answer.headers["Model-Version"]) == ("api-sums", "2")
        phases = dict(phase.split(";dur=") for phase in answer.headers["Server-Timing"].split(", "))
    assert {"resolve", "queue", "predict"} <= phases.keys()
    assert float(phases["predict"]) > 0


async def test_the_timing_of_a_cold_start(gateway_without_wall: Gateway) -> None:
    """Server-Timing has download and load on the first response, and not on the next."""
    path = "/model/api-cold-timing/1/invocation"
    cold = []
    for _ in range(2):
        async with gateway_without_wall.post(path, data=BODY, headers=JSON) as answer:
            assert answer.status == 200
            timing = answer.headers["Server-Timing"]
            cold.append("download;dur=" in timing and "load;dur=" in timing)
    assert cold == [True, False]


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_names(gateway: Gateway, name: str) -> None:
    """A name is decoded exactly once, and the response has it unchanged."""
    async with gateway.post(
        f"/model/{quote(name, safe='')}/latest/invocation", data=BODY, headers=JSON
    ) as answer:
        assert answer.status == 200, await answer.text()
        assert (await answer.json())["model"]["name"] == name
        assert unquote(answer.headers["Model-Name"]) == name


async def test_an_experiment(gateway: Gateway) -> None:
    """Its newest finished run with a model is `latest`, and its metric decides `best`."""
    status, answer = await invoke(gateway, "/model/api%2Fforest/invocation/latest")
    assert (status, answer["predictions"]) == (200, [24.0, 56.0])
    assert answer["model"] == {"name": "api/forest", "version": "3", "source": "experiment"}
    status, answer = await invoke(gateway, "/model/api%2fforest/best/invocation")
    assert (status, answer["model"]["version"]) == (200, "1")
    status, error = await invoke(gateway, "/model/api%252Fforest/latest/invocation")
    assert (status, error["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


async def test_nan_and_infinities_are_valid_json(gateway: Gateway) -> None:
    """They become null."""
    assert (await invoke(gateway, "/model/api-nan/1/invocation"))[1]["predictions"] == [None, None, 1.5]


async def test_a_body_that_breaks_the_signature(gateway: Gateway) -> None:
    """400 names the wrong cell, but not its value."""
    body = json.dumps({"dataframe_records": [{"a": 1.0, "b": 2.0}, {"a": "a secret", "b": 2.0}]}).encode()
    status, error = await invoke(gateway, "/model/api-sums/1/invocation", body)
    assert status == 400
    assert error["error_code"] == "INVALID_PARAMETER_VALUE"
    assert [(cell["row"], cell["column"]) for cell in error["details"]] == [(1, "a")]
    assert "secret" not in json.dumps(error)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b"3", b"{}"])
async def test_an_invalid_body(gateway: Gateway, body: bytes) -> None:
    """400 as JSON with MLflow's code."""
    status, error = await invoke(gateway, "/model/api-sums/1/invocation", body)
    assert (status, error["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content-Type": "text/html"}, BODY, 415),
        ({"Content-Type": "application/json; charset=latin-1"}, BODY, 415),
        ({"Content-Encoding": "compress"}, BODY, 415),
        ({"Content-Encoding": "gzip"}, BODY, 400),
        ({"Content-Encoding": "gzip, br"}, BODY, 415),
        ({"Content-Encoding": "gzip"}, gzip.compress(BODY, mtime=0)[:-4], 400),
        ({"Content-Encoding": "gzip"}, gzip.compress(b" " * 50_000_000, mtime=0), 413),
        ({}, b" " * 1_000_001, 413),
        ({"Expect": "100-continue"}, b" " * 1_000_001, 413),
        ({"Accept": "text/html"}, BODY, 406),
    ],
)
async def test_unsupported_requests(
    gateway: Gateway, headers: dict[str, str], body: bytes, status: int
) -> None:
    """Types, encodings and sizes have a status each, and the error has the usual form."""
    got, error = await invoke(gateway, "/model/api-sums/1/invocation", body, **headers)
    assert (got, set(error)) == (status, {"error_code", "message", "request_id"})


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Encoding": "gzip"}, gzip.compress(BODY, mtime=0)),
        ({"Content-Encoding": "identity, gzip"}, gzip.compress(BODY, mtime=0)),
        ({"Content-Encoding": ""}, BODY),
        ({"Content-Type": "Application/JSON; charset=UTF-8"}, BODY),
        ({"Accept": "text/html, */*;q=0.1"}, BODY),
        ({"Expect": "100-continue"}, BODY),
    ],
)
async def test_supported_requests(gateway: Gateway, headers: dict[str, str], body: bytes) -> None:
    """Compressed bodies, types with a charset and broad Accept headers work."""
    status, answer = await invoke(gateway, "/model/api-sums/2/invocation", body, **headers)
    assert (status, answer) == (200, VERSION_2)


async def test_repeated_encodings(gateway: Gateway) -> None:
    """Headers that occur twice mean the list of both."""
    headers = [("Content-Encoding", "identity"), ("Content-Encoding", "gzip"), ("Content-Type", "text/csv")]
    accepted = [("Accept-Encoding", "x"), ("Accept-Encoding", "gzip")]
    rows = b"a,b\n" + b"1,2\n" * 1000
    url = "/model/api-sums/2/invocation"
    async with gateway.post(url, data=gzip.compress(rows), headers=headers + accepted) as answer:
        assert (answer.status, answer.headers.get("Content-Encoding")) == (200, "gzip")
        assert len((await answer.json())["predictions"]) == 1000


async def test_no_content_type_is_json(gateway: Gateway) -> None:
    """It means JSON, because many small clients send none."""
    async with gateway.post(
        "/model/api-sums/2/invocation", data=BODY, skip_auto_headers=["Content-Type"]
    ) as answer:
        assert (answer.status, await answer.json()) == (200, VERSION_2)
