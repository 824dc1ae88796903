"""What the client makes of servers that misbehave; each is a real server on a port of its own."""

from __future__ import annotations

import asyncio
import ssl
import threading
from time import perf_counter
from typing import TYPE_CHECKING

import pytest
from yarl import URL

from gateway.errors import BadUpstreamResponse, GatewayError, NotFound, UpstreamTimeout, UpstreamUnavailable
from gateway.mlflow_client import EndpointNotFound, MlflowClient, RequestRejected, all_pages
from gateway.mlflow_client.transport import MAX_RESPONSE_BYTES, Transport
from gateway.settings import load
from tests.support.faulty_proxy import HANG, answer, scripted
from tests.support.mlflow_server import free_port

if TYPE_CHECKING:
    from gateway.mlflow_client import Page, Version

HTML = b"<!doctype html><title>Some page</title> /srv/secret/path"
MODEL = b'{"registered_model": {"name": "wine"}}'


def client(url: str, **names: str) -> MlflowClient:
    return MlflowClient(
        load({"MLFLOW_TRACKING_URI": url, "MLFLOW_HTTP_REQUEST_TIMEOUT": "2", **names}).mlflow
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
        (page(200), BadUpstreamResponse, "not in JSON"),
        (answer(401, b'{"error_code": "UNAUTHENTICATED"}'), BadUpstreamResponse, "MLFLOW_TRACKING_TOKEN"),
        (
            answer(
                403, b"Invalid Host header - possible DNS rebinding attack detected", media_type="text/plain"
            ),
            BadUpstreamResponse,
            "MLFLOW_SERVER_ALLOWED_HOSTS",
        ),
        (answer(403, b"Permission denied", media_type="text/plain"), BadUpstreamResponse, "does not allow"),
        (
            answer(404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "/srv/x"}'),
            NotFound,
            "nothing of",
        ),
        (answer(404, b'{"error_code": "ENDPOINT_NOT_FOUND"}'), EndpointNotFound, "no such call"),
        (
            answer(400, b'{"error_code": "INVALID_PARAMETER_VALUE"}'),
            RequestRejected,
            "400 INVALID_PARAMETER_VALUE",
        ),
        (
            answer(500, b'{"error_code": "INTERNAL_ERROR", "message": "trace"}'),
            BadUpstreamResponse,
            "error of its own",
        ),
        (answer(503, b"busy", media_type="text/plain"), UpstreamUnavailable, "503"),
        (answer(429, b"{}"), UpstreamUnavailable, "429"),
        (answer(504, b"late", media_type="text/html"), UpstreamTimeout, "504"),
        (answer(302, more="Location: http://127.0.0.1:9/login\r\n"), BadUpstreamResponse, "final address"),
        (answer(200, b'{"registered_model": {"na'), BadUpstreamResponse, "not valid JSON"),
        (answer(200, b"[1, 2]"), BadUpstreamResponse, "not a JSON object"),
        (answer(200, b'{"registered_model": {}}'), BadUpstreamResponse, "no name"),
        (answer(200, MODEL[:20], length=len(MODEL)), BadUpstreamResponse, "broke off"),
        (b"HTTP/1.1 200 OK\r\nContent-", UpstreamUnavailable, "cannot be reached"),
        (b"", UpstreamUnavailable, "cannot be reached"),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", BadUpstreamResponse, "not HTTP"),
        (HANG, UpstreamTimeout, "in time"),
        (answer(200, MODEL[:20], length=len(MODEL)) + HANG, UpstreamTimeout, "in time"),
    ],
)
async def test_each_fault_has_a_clear_error(script: bytes, error: type[GatewayError], text: str) -> None:
    """The error's class says whose fault it is, its text what to do; neither echoes the server."""
    async with scripted(script) as server, client(server.url) as mlflow:
        with pytest.raises(error, match=text) as caught:
            await mlflow.get_registered_model("wine")
    assert "/srv" not in str(caught.value)
    assert "trace" not in str(caught.value)


async def test_a_refused_connection_is_away() -> None:
    """Nobody listens: the server is away, and the caller learns it at once."""
    started = perf_counter()
    async with client(f"http://127.0.0.1:{free_port()}") as mlflow:
        with pytest.raises(UpstreamUnavailable, match="cannot be reached"):
            await mlflow.get_registered_model("wine")
    assert perf_counter() - started < 1.5


async def test_the_time_limit_holds_over_all_attempts() -> None:
    """A server that hangs costs the limit once, not once per attempt."""
    started = perf_counter()
    async with scripted(answer(503), HANG) as server, client(server.url) as mlflow:
        with pytest.raises(UpstreamTimeout):
            await mlflow.get_registered_model("wine")
    assert 1.9 < perf_counter() - started < 3


@pytest.mark.parametrize("first", [answer(503), answer(429), page(502), answer(504), b""])
async def test_a_passing_fault_is_not_noticed(first: bytes) -> None:
    """A read is asked again after a short pause, twice at most."""
    async with scripted(first, first, answer(200, MODEL)) as server, client(server.url) as mlflow:
        assert (await mlflow.get_registered_model("wine")).name == "wine"
        assert len(server.requests) == 3


@pytest.mark.parametrize("script", [page(500), page(401), answer(400, b"{}"), answer(404, b"{}")])
async def test_a_lasting_fault_is_asked_once(script: bytes) -> None:
    """What will not get better is not asked again."""
    async with scripted(script) as server, client(server.url) as mlflow:
        with pytest.raises(GatewayError):
            await mlflow.get_registered_model("wine")
        assert len(server.requests) == 1


async def test_an_endless_list_ends() -> None:
    """A server whose tokens repeat does not keep the gateway asking for ever."""
    body = b'{"model_versions": [], "next_page_token": "again"}'
    async with scripted(answer(200, body)) as server, client(server.url) as mlflow:

        async def page_of(token: str) -> Page[Version]:
            return await mlflow.search_model_versions("name = 'x'", max_results=10, token=token)

        with pytest.raises(BadUpstreamResponse, match="does not come to an end"):
            await all_pages(page_of)
        assert len(server.requests) == 2


async def test_a_huge_answer_is_refused() -> None:
    """An answer beyond the limit is given up, not gathered in memory."""
    body = b'"' + b"x" * (MAX_RESPONSE_BYTES + 1) + b'"'
    async with scripted(answer(200, body)) as server, client(server.url) as mlflow:
        with pytest.raises(BadUpstreamResponse, match="larger than 64 MiB"):
            await mlflow.get_registered_model("wine")


@pytest.mark.parametrize(("size", "in_thread"), [(1000, False), (300_000, True)])
async def test_a_large_answer_is_read_in_a_thread(size: int, *, in_thread: bool) -> None:
    """A page of a thousand runs would keep every other request waiting."""
    body = b'{"x": "' + b"x" * size + b'"}'
    async with scripted(answer(200, body)) as server:
        transport = Transport(
            URL(server.url), headers={}, tls=ssl.create_default_context(), timeout=2, connections=1
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
async def test_a_file_that_breaks_off_raises_while_it_is_read(
    script: bytes, error: type[GatewayError]
) -> None:
    """What arrived before the break was handed on; nothing of aiohttp escapes the iteration."""
    async with (
        scripted(script) as server,
        client(server.url) as mlflow,
        mlflow.stream_artifact("a/file") as stream,
    ):
        assert stream.size == 100
        chunks = aiter(stream)
        assert await anext(chunks) == b"half"
        with pytest.raises(error):
            await anext(chunks)


async def test_a_file_is_asked_for_again_before_it_begins() -> None:
    """A busy server at the start of a download is retried; a missing file is not."""
    async with scripted(answer(503), b"", answer(200, b"data")) as server, client(server.url) as mlflow:
        async with mlflow.stream_artifact("a/file") as stream:
            assert b"".join([chunk async for chunk in stream]) == b"data"
        assert len(server.requests) == 3
    async with scripted(answer(503, b"x")) as server, client(server.url) as mlflow:
        with pytest.raises(UpstreamUnavailable):
            async with mlflow.stream_artifact("a/file"):
                raise AssertionError("there is no file")


async def test_a_download_that_cannot_begin_is_told() -> None:
    """Nobody listens, or nobody answers: the same errors as for any other call."""
    async with client(f"http://127.0.0.1:{free_port()}") as mlflow:
        with pytest.raises(UpstreamUnavailable):
            async with mlflow.stream_artifact("a/file"):
                raise AssertionError("there is no server")
    async with scripted(HANG) as server, client(server.url) as mlflow:
        with pytest.raises(UpstreamTimeout):
            async with mlflow.stream_artifact("a/file"):
                raise AssertionError("there is no answer")


async def test_a_client_that_is_not_open_says_so() -> None:
    """A mistake of the caller's, not an upstream fault."""
    mlflow = client("http://127.0.0.1:1")
    with pytest.raises(RuntimeError, match="not open"):
        await mlflow.server_version()
    await mlflow.close()


async def test_a_server_without_served_artifacts_is_named() -> None:
    """MLflow's own words for it become the setting that helps."""
    body = b"Endpoint disabled due to the mlflow server running with `--no-serve-artifacts`."
    async with scripted(answer(503, body, media_type="text/plain")) as server, client(server.url) as mlflow:
        with pytest.raises(BadUpstreamResponse, match="--serve-artifacts"):
            await mlflow.list_artifacts("a")


async def test_a_cancelled_call_is_cancelled() -> None:
    """Cancelling is neither a time-out nor a fault, and the connection is given up."""
    async with scripted(HANG) as server, client(server.url) as mlflow:
        task = asyncio.create_task(mlflow.get_registered_model("wine"))
        await server.asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
