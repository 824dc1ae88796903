"""Proves how the client reports faults of a server; each test has a real server on a port of its own."""

from __future__ import annotations

import asyncio
import ssl
import threading
from typing import TYPE_CHECKING

import pytest
from yarl import URL

from gateway.errors import BadUpstreamResponse, GatewayError, NotFound, UpstreamTimeout, UpstreamUnavailable
from gateway.mlflow_client import EndpointNotFound, MlflowClient, RequestRejected, all_pages
from gateway.mlflow_client.transport import MAX_RECORD_BYTES, MAX_RESPONSE_BYTES, Transport
from gateway.settings import load
from tests.support.faulty_proxy import HANG, answer, scripted
from tests.support.mlflow_server import free_port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.mlflow_client import Page, Version

HTML = b"<!doctype html><title>Some page</title> /srv/secret/path"
MODEL = b'{"registered_model": {"name": "wine"}}'


def client(url: str, *, timeout: float = 30) -> MlflowClient:
    return MlflowClient(
        load({"MLFLOW_TRACKING_URI": url, "MLFLOW_HTTP_REQUEST_TIMEOUT": str(timeout)}).mlflow
    )


def page(status: int) -> bytes:
    return answer(status, HTML, media_type="text/html; charset=utf-8")


@pytest.mark.parametrize(
    ("script", "error", "text"),
    [
        (page(500), BadUpstreamResponse, "web page"),
        (page(502), BadUpstreamResponse, "web page"),
        (
            page(401),
            BadUpstreamResponse,
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
        ),
        (page(404), EndpointNotFound, "MLFLOW_TRACKING_URI"),
        (page(414), RequestRejected, "too long for MLflow"),
        (page(431), RequestRejected, "too long for MLflow"),
        (page(200), BadUpstreamResponse, "not JSON"),
        (answer(401, b'{"error_code": "UNAUTHENTICATED"}'), BadUpstreamResponse, "MLFLOW_TRACKING_TOKEN"),
        (
            answer(
                403, b"Invalid Host header - possible DNS rebinding attack detected", media_type="text/plain"
            ),
            BadUpstreamResponse,
            "MLFLOW_SERVER_ALLOWED_HOSTS",
        ),
        (answer(403, b"Permission denied", media_type="text/plain"), BadUpstreamResponse, "does not permit"),
        (
            answer(404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "/srv/x"}'),
            NotFound,
            "nothing with this name",
        ),
        (
            answer(404, b'{"error_code": "ENDPOINT_NOT_FOUND"}'),
            EndpointNotFound,
            "does not have this endpoint",
        ),
        (
            answer(400, b'{"error_code": "INVALID_PARAMETER_VALUE"}'),
            RequestRejected,
            "400 INVALID_PARAMETER_VALUE",
        ),
        (
            answer(500, b'{"error_code": "INTERNAL_ERROR", "message": "trace"}'),
            BadUpstreamResponse,
            "answered with an error",
        ),
        (answer(503, b"busy", media_type="text/plain"), UpstreamUnavailable, "503"),
        (answer(429, b"{}"), UpstreamUnavailable, "429"),
        (answer(504, b"late", media_type="text/html"), UpstreamTimeout, "504"),
        (answer(302, more="Location: http://127.0.0.1:9/login\r\n"), BadUpstreamResponse, "final address"),
        (answer(200, b'{"registered_model": {"na'), BadUpstreamResponse, "not valid JSON"),
        (answer(200, b"[1, 2]"), BadUpstreamResponse, "not a JSON object"),
        (answer(200, b'{"registered_model": {}}'), BadUpstreamResponse, "required field name"),
        (answer(200, MODEL[:20], length=len(MODEL)), BadUpstreamResponse, "cut off"),
        (b"HTTP/1.1 200 OK\r\nContent-", UpstreamUnavailable, "cannot be reached"),
        (b"", UpstreamUnavailable, "cannot be reached"),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", BadUpstreamResponse, "not HTTP"),
        (HANG, UpstreamTimeout, "in time"),
        (answer(200, MODEL[:20], length=len(MODEL)) + HANG, UpstreamTimeout, "in time"),
    ],
)
async def test_each_fault_has_a_clear_error(script: bytes, error: type[GatewayError], text: str) -> None:
    """The error's class and message fit the fault; neither repeats the server's text."""
    timeout = 0.3 if script.endswith(HANG) else 30
    async with scripted(script) as server, client(server.url, timeout=timeout) as mlflow:
        with pytest.raises(error, match=text) as caught:
            await mlflow.get_registered_model("wine")
    assert "/srv" not in str(caught.value)
    assert "trace" not in str(caught.value)


async def test_a_closed_port_is_unavailable() -> None:
    """The error does not wait for the client's time limit."""
    async with client(f"http://127.0.0.1:{free_port()}", timeout=600) as mlflow, asyncio.timeout(30):
        with pytest.raises(UpstreamUnavailable, match="cannot be reached"):
            await mlflow.get_registered_model("wine")


async def test_the_time_limit_is_for_all_attempts_together() -> None:
    """A call to a server that hangs is not retried after its timeout."""
    async with scripted(answer(503), HANG) as server, client(server.url, timeout=1) as mlflow:
        with pytest.raises(UpstreamTimeout):
            await mlflow.get_registered_model("wine")
        assert len(server.requests) <= 2


@pytest.mark.parametrize("first", [answer(503), answer(429), page(502), answer(504), b""])
async def test_a_transient_fault_is_retried(first: bytes) -> None:
    """After a short delay, at most twice."""
    async with scripted(first, first, answer(200, MODEL)) as server, client(server.url) as mlflow:
        assert (await mlflow.get_registered_model("wine")).name == "wine"
        assert len(server.requests) == 3


@pytest.mark.parametrize("script", [page(500), page(401), answer(400, b"{}"), answer(404, b"{}")])
async def test_a_lasting_fault_is_not_retried(script: bytes) -> None:
    """If a retry cannot succeed, only one request is sent."""
    async with scripted(script) as server, client(server.url) as mlflow:
        with pytest.raises(GatewayError):
            await mlflow.get_registered_model("wine")
        assert len(server.requests) == 1


async def test_an_endless_list_is_an_error() -> None:
    """If the server's page tokens repeat, the client stops."""
    body = b'{"model_versions": [], "next_page_token": "again"}'
    async with scripted(answer(200, body)) as server, client(server.url) as mlflow:

        async def page_of(token: str) -> Page[Version]:
            return await mlflow.search_model_versions("name = 'x'", max_results=10, token=token)

        with pytest.raises(BadUpstreamResponse, match="does not end"):
            await all_pages(page_of)
        assert len(server.requests) == 2


async def test_a_huge_response_is_rejected() -> None:
    """A response over the limit is aborted, not collected in memory."""
    body = b'"' + b"x" * (MAX_RESPONSE_BYTES + 1) + b'"'
    async with scripted(answer(200, body)) as server, client(server.url) as mlflow:
        with pytest.raises(BadUpstreamResponse, match="larger than 64 MiB"):
            await mlflow.search_registered_models(max_results=1)


@pytest.mark.parametrize(
    "call",
    [
        lambda mlflow: mlflow.get_registered_model("wine"),
        lambda mlflow: mlflow.get_model_version("wine", "1"),
        lambda mlflow: mlflow.get_experiment_by_name("wine"),
        lambda mlflow: mlflow.get_run("1"),
        lambda mlflow: mlflow.get_logged_model("m-1"),
    ],
)
async def test_a_huge_record_is_rejected(call: Callable[[MlflowClient], Awaitable[object]]) -> None:
    """A single run or model with tags for a whole page of them is rejected: any user may write tags."""
    body = b'{"x": "' + b"x" * (MAX_RECORD_BYTES + 1) + b'"}'
    async with scripted(answer(200, body)) as server, client(server.url) as mlflow:
        with pytest.raises(BadUpstreamResponse, match="larger than 16 MiB"):
            await call(mlflow)


@pytest.mark.parametrize(("size", "in_thread"), [(1000, False), (300_000, True)])
async def test_a_large_response_is_parsed_in_a_thread(size: int, *, in_thread: bool) -> None:
    """Parsing a page of a thousand runs in the event loop would delay every other request."""
    body = b'{"x": "' + b"x" * size + b'"}'
    async with scripted(answer(200, body)) as server:
        transport = Transport(
            URL(server.url), headers={}, tls=ssl.create_default_context(), timeout=30, connections=1
        )
        await transport.open()
        try:
            thread = await transport.get("/", parse=lambda response: threading.current_thread())
        finally:
            await transport.close()
    assert (thread is not threading.current_thread()) is in_thread


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (answer(200, b"half", length=100), BadUpstreamResponse),
        (answer(200, b"half", length=100) + HANG, UpstreamTimeout),
    ],
)
async def test_a_truncated_file_raises_while_it_is_read(script: bytes, error: type[GatewayError]) -> None:
    """The chunks before the fault are yielded; no error of aiohttp is raised."""
    async with (
        scripted(script) as server,
        client(server.url, timeout=1 if script.endswith(HANG) else 30) as mlflow,
        mlflow.stream_artifact("a/file") as stream,
    ):
        assert stream.size == 100
        chunks = aiter(stream)
        assert await anext(chunks) == b"half"
        with pytest.raises(error):
            await anext(chunks)


async def test_the_start_of_a_download_is_retried() -> None:
    """If the server is overloaded, up to the limit of attempts."""
    async with scripted(answer(503), b"", answer(200, b"data")) as server, client(server.url) as mlflow:
        async with mlflow.stream_artifact("a/file") as stream:
            assert b"".join([chunk async for chunk in stream]) == b"data"
        assert len(server.requests) == 3
    async with scripted(answer(503, b"x")) as server, client(server.url) as mlflow:
        with pytest.raises(UpstreamUnavailable):
            async with mlflow.stream_artifact("a/file"):
                raise AssertionError("there is no file")


async def test_a_download_that_cannot_start_is_an_error() -> None:
    """A closed port and a server that hangs raise the same errors as for any other call."""
    async with client(f"http://127.0.0.1:{free_port()}") as mlflow:
        with pytest.raises(UpstreamUnavailable):
            async with mlflow.stream_artifact("a/file"):
                raise AssertionError("there is no server")
    async with scripted(HANG) as server, client(server.url, timeout=0.3) as mlflow:
        with pytest.raises(UpstreamTimeout):
            async with mlflow.stream_artifact("a/file"):
                raise AssertionError("there is no answer")


async def test_a_client_that_is_not_open_says_so() -> None:
    """It is a programming error, not an upstream error."""
    mlflow = client("http://127.0.0.1:1")
    with pytest.raises(RuntimeError, match="not open"):
        await mlflow.server_version()
    await mlflow.close()


async def test_a_server_that_serves_no_artifacts_has_its_own_error() -> None:
    """The message names the option of the MLflow server."""
    body = b"Endpoint disabled due to the mlflow server running with `--no-serve-artifacts`."
    async with scripted(answer(503, body, media_type="text/plain")) as server, client(server.url) as mlflow:
        with pytest.raises(BadUpstreamResponse, match="--serve-artifacts"):
            await mlflow.list_artifacts("a")


async def test_a_cancelled_call_is_cancelled() -> None:
    """Cancellation is neither a timeout nor an upstream error, and the connection is closed."""
    async with scripted(HANG) as server, client(server.url) as mlflow:
        task = asyncio.create_task(mlflow.get_registered_model("wine"))
        await server.responded.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
