"""Proves predictions as server-sent events with the real application: their form, their end, and errors."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.api.handlers.stream import prefers_events
from gateway.api.keys import COMPONENTS
from tests.support.gateways import BODY, NO_WALL, Gateway, gateway_at, invoke
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import aiohttp

    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

JSON = {"Content-Type": "application/json"}
PATH = "/model/api-streams/1/invocation"
STREAM = f"{PATH}?stream=true"
DONE = ("message", "[DONE]")

Event = tuple[str, str]


def body(*words: str) -> bytes:
    return json.dumps({"dataframe_records": [{"do": word} for word in words]}).encode()


async def events_of(answer: aiohttp.ClientResponse) -> AsyncIterator[Event]:
    """Yield the type and the data of each event, as the standard for event streams defines them."""
    kind = "message"
    data: list[str] = []
    async for raw in answer.content:
        line = raw.decode().removesuffix("\n")
        name, _, value = line.partition(":")
        if not line and data:
            yield kind, "\n".join(data)
            kind, data = "message", []
        elif name == "event":
            kind = value.removeprefix(" ")
        elif name == "data":
            data.append(value.removeprefix(" "))
    assert not data, "the last event is incomplete"


async def streamed(gateway: Gateway, path: str, sent: bytes, **headers: str) -> list[Event]:
    async with gateway.post(path, data=sent, headers={**JSON, **headers}) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/event-stream"
        return [event async for event in events_of(answer)]


async def test_every_chunk_in_order_and_then_done(gateway: Gateway) -> None:
    """The stream has exactly the form of MLflow's agent server, and the headers of every prediction."""
    headers = {"X-Request-Id": "my-own.id", **JSON}
    async with gateway.post(STREAM, data=body("say a b"), headers=headers) as answer:
        assert answer.status == 200
        assert await answer.read() == b'data: "a"\n\ndata: "b"\n\ndata: [DONE]\n\n'
        sent = answer.headers
    assert sent["Content-Type"] == "text/event-stream; charset=utf-8"
    assert (sent["Cache-Control"], sent["X-Accel-Buffering"]) == ("no-cache", "no")
    assert (sent["Model-Name"], sent["Model-Version"]) == ("api-streams", "1")
    assert sent["X-Request-Id"] == "my-own.id"
    assert "predict;dur=" in sent["Server-Timing"]
    events = await streamed(gateway, STREAM, body("count 2000"))
    assert events.pop() == DONE
    assert [json.loads(data)["n"] for _, data in events] == list(range(2000))


@pytest.mark.parametrize(
    "path", ["/model/api-streams/latest/invocation", "/models/api-streams/invocation/latest/"]
)
async def test_every_route_that_predicts(gateway: Gateway, path: str) -> None:
    """`?stream=true` and Accept select a stream for every selector; compression changes nothing."""
    events = [("message", '"a"'), DONE]
    assert await streamed(gateway, f"{path}?stream=true", body("say a"), Accept="application/json") == events
    assert await streamed(gateway, path, body("say a"), Accept="text/event-stream") == events
    compressed = {"Content-Encoding": "gzip", "Accept-Encoding": "gzip"}
    sent = gzip.compress(body("say a"))
    assert await streamed(gateway, f"{path}?stream=true", sent, **compressed) == events


@pytest.mark.parametrize(
    ("accept", "streams"),
    [
        ("text/event-stream", True),
        ("Text/Event-Stream; q=0.5, */*; q=0.1", True),
        ("text/event-stream, application/json;q=0.5", True),
        ("application/json, text/event-stream", False),
        ("application/json, text/event-stream;q=0.9", False),
        ("text/event-stream;q=0", False),
        ("*/*", False),
        ("text/*", False),
        ("", False),
    ],
)
async def test_the_accept_header(accept: str, *, streams: bool) -> None:
    """It selects a stream only if it gives event streams a higher weight than JSON."""
    assert prefers_events(accept) is streams


async def test_the_query_decides(gateway: Gateway) -> None:
    """`stream=false` selects a response in one piece; anything but true and false is rejected."""
    status, whole = await invoke(gateway, f"{PATH}?stream=false", body("x"))
    assert status == 200
    assert whole["model"]["name"] == "api-streams"
    status, refused = await invoke(gateway, f"{PATH}?stream=perhaps", body("x"))
    assert (status, refused["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


async def test_chunks_are_sent_as_the_model_yields_them(gateway: Gateway, tmp_path: Path) -> None:
    """The first chunk arrives before the model makes the second."""
    go = tmp_path / "go"
    async with gateway.post(STREAM, data=body(f"say a; wait_for {go}; say b"), headers=JSON) as answer:
        events = events_of(answer)
        assert await anext(events) == ("message", '"a"')
        go.touch()
        assert [event async for event in events] == [("message", '"b"'), DONE]


@pytest.mark.parametrize(
    ("path", "sent", "status", "code"),
    [
        (STREAM, BODY, 400, "INVALID_PARAMETER_VALUE"),
        (STREAM, b"{", 400, "INVALID_PARAMETER_VALUE"),
        (STREAM, body("say a", "say b"), 400, "INVALID_PARAMETER_VALUE"),
        (STREAM, body("raise it"), 500, "MODEL_ERROR"),
        (STREAM, body("die"), 500, "MODEL_ERROR"),
        ("/model/api-sums/2/invocation?stream=true", BODY, 406, "BAD_REQUEST"),
        ("/model/api-missing/2/invocation?stream=true", BODY, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("/model/api-broken/1/invocation?stream=true", BODY, 424, "INVALID_STATE"),
    ],
)
async def test_an_error_before_the_first_chunk(
    gateway: Gateway, path: str, sent: bytes, status: int, code: str
) -> None:
    """It is an ordinary error response with its status."""
    async with gateway.post(path, data=sent, headers={**JSON, "Accept": "text/event-stream"}) as answer:
        assert (answer.status, answer.content_type) == (status, "application/json")
        error = await answer.json()
    assert error["error_code"] == code
    assert "/secret" not in json.dumps(error)
    if status == 406:
        assert "predict_stream" in error["message"]


@pytest.mark.parametrize("fault", ["raise it", "die"])
async def test_an_error_after_the_first_chunk(gateway: Gateway, fault: str) -> None:
    """The stream has the chunks until then, an event `error` with the usual body, and no [DONE]."""
    await check_error_event(gateway, fault, code="MODEL_ERROR")


async def test_a_chunk_that_takes_too_long(gateway_with_short_timeout: Gateway) -> None:
    """It is an error as well; the gateway serves the model on."""
    await check_error_event(gateway_with_short_timeout, "sleep 60", code="DEADLINE_EXCEEDED")


async def check_error_event(gateway: Gateway, fault: str, *, code: str) -> None:
    first, second, (kind, data) = await streamed(
        gateway, STREAM, body(f"say a b; {fault}"), **{"X-Request-Id": "broke"}
    )
    assert [first, second] == [("message", '"a"'), ("message", '"b"')]
    error = json.loads(data)
    assert (kind, error["error_code"], error["request_id"]) == ("error", code, "broke")
    assert "/secret" not in data
    assert "Traceback" not in data
    assert (await invoke(gateway, PATH, body("x")))[0] == 200


async def test_the_text_of_a_models_exception(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """The setting allows it in an error event as in any error response."""
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_MODEL_ERROR_TEXT="true") as gateway:
        *_, (kind, data) = await streamed(gateway, STREAM, body("say a; raise my own words"))
    assert kind == "error"
    assert "my own words" in json.loads(data)["message"]


@pytest.mark.parametrize("pause", [0.0, 0.2])
async def test_a_disconnect(gateway_without_wall: Gateway, tmp_path: Path, pause: float) -> None:
    """The worker closes the model's generator, and its process serves further requests."""
    gateway, mark = gateway_without_wall, tmp_path / "mark"
    (process,) = (await invoke(gateway, PATH, body("x")))[1]["predictions"]
    async with gateway.post(STREAM, data=body(f"count 1000000 {pause} {mark}"), headers=JSON) as answer:
        await anext(events_of(answer))
        assert not mark.exists()
        answer.close()
    await until(mark.exists)
    assert mark.read_text() == f"early {process}"
    assert (await invoke(gateway, PATH, body("x")))[1]["predictions"] == [process]


async def test_a_disconnect_before_the_first_chunk(gateway_without_wall: Gateway, tmp_path: Path) -> None:
    """The worker closes the stream once it is open, so that the next request need not wait for its end."""
    gateway = gateway_without_wall
    started, go, mark = (tmp_path / name for name in ("started", "go", "mark"))
    commands = body(f"note {started}; wait_for {go}; count 1000000000 0 {mark}")
    request = asyncio.create_task(streamed(gateway, STREAM, commands))
    await until(started.exists)
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    await until(lambda: gateway.app[COMPONENTS].in_flight.count == 0)
    go.touch()
    assert (await invoke(gateway, PATH, body("x")))[0] == 200
    assert not mark.exists() or mark.read_text().startswith("early")


async def test_a_client_that_does_not_read(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """The model stops yielding chunks, so no memory fills, and the worker is free after the time limit."""
    chunks = tmp_path / "chunks"
    async with gateway_at(
        mlflow_server.url, tmp_path / "cache", GATEWAY_REQUEST_TIMEOUT_SECONDS="4", **NO_WALL
    ) as gateway:
        assert (await invoke(gateway, PATH, body("x")))[0] == 200
        reader, writer = await asyncio.open_connection(gateway.host, gateway.port, limit=2**10)
        sent = body(f"fill {chunks}")
        head = f"POST {STREAM} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(sent)}\r\n\r\n"
        writer.write(head.encode() + sent)
        await reader.readexactly(100)
        async with asyncio.timeout(60):
            while (await invoke(gateway, PATH, body("x")))[0] != 200:
                pass  # the worker is still busy with the stream
        assert chunks.stat().st_size < 200
        writer.close()


async def test_twenty_streams_beside_predictions(gateway: Gateway) -> None:
    """Requests to two models at once: each stream is complete and in order."""
    words = [[f"{n}.{m}" for m in range(5 + n)] for n in range(20)]
    streams = asyncio.gather(*(streamed(gateway, STREAM, body(f"say {' '.join(line)}")) for line in words))
    others = asyncio.gather(*(invoke(gateway, PATH, body("x")) for _ in range(20)))
    sums = asyncio.gather(*(invoke(gateway, "/model/api-sums/1/invocation", BODY) for _ in range(20)))
    assert await streams == [[*(("message", f'"{word}"') for word in line), DONE] for line in words]
    assert [status for status, _ in await others] == [200] * 20
    assert [answer["predictions"] for _, answer in await sums] == [[3.0, 7.0]] * 20


async def test_a_chat_agent(gateway: Gateway) -> None:
    """A body of the unified LLM kind, in one piece and as a stream, is answered as the agent answers."""
    path = "/model/api-chat/1/invocation"
    sent = json.dumps({"messages": [{"role": "user", "content": "one two"}]}).encode()
    status, whole = await invoke(gateway, path, sent)
    assert (status, whole["messages"][0]["content"]) == (200, "one two")
    *chunks, last = await streamed(gateway, f"{path}?stream=true", sent)
    assert [json.loads(data)["delta"]["content"] for _, data in chunks] == ["one", "two"]
    assert last == DONE


async def test_a_responses_agent(gateway: Gateway) -> None:
    """The same for MLflow's newest kind of agent, whose body may contain `stream` itself."""
    path = "/model/api-responses/1/invocation"
    sent = {"input": [{"role": "user", "content": "one two"}]}
    status, whole = await invoke(gateway, path, json.dumps(sent).encode())
    assert (status, whole["output"][0]["content"][0]["text"]) == (200, "one two")
    for document in (sent, {**sent, "stream": True}):
        *chunks, last = await streamed(gateway, f"{path}?stream=true", json.dumps(document).encode())
        events: list[dict[str, Any]] = [json.loads(data) for _, data in chunks]
        assert [event["delta"] for event in events] == ["one", "two"]
        assert {event["type"] for event in events} == {"response.output_text.delta"}
        assert last == DONE


async def test_invalid_input_of_an_agent(gateway: Gateway) -> None:
    """The client gets an ordinary error before the stream begins."""
    status, error = await invoke(gateway, "/model/api-chat/1/invocation?stream=true", b'{"messages": [{}]}')
    assert (status, error["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
