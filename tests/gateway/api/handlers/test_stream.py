"""Proves answers as server-sent events over the real application: their form, their ends, and who waits."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.api.handlers.stream import prefers_events
from tests.support.gateways import BODY, Gateway, gateway_at, invoke

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
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
    """Type and data of each event, read as the standard for event streams says."""
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
    assert not data, "the last event is not whole"


async def streamed(gateway: Gateway, path: str, sent: bytes, **headers: str) -> list[Event]:
    async with gateway.post(path, data=sent, headers={**JSON, **headers}) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/event-stream"
        return [event async for event in events_of(answer)]


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - no event tells what another process has done
            await asyncio.sleep(0.01)


async def test_every_chunk_in_order_and_then_done(gateway: Gateway) -> None:
    """Byte by byte in the form of MLflow's agent server, with the headers of every prediction."""
    headers = {"X-Request-Id": "my-own.id", **JSON}
    async with gateway.post(STREAM, data=body("say a b"), headers=headers) as answer:
        assert answer.status == 200
        assert await answer.read() == b'data: "a"\n\ndata: "b"\n\ndata: [DONE]\n\n'
        told = answer.headers
    assert told["Content-Type"] == "text/event-stream; charset=utf-8"
    assert (told["Cache-Control"], told["X-Accel-Buffering"]) == ("no-cache", "no")
    assert (told["Model-Name"], told["Model-Version"]) == ("api-streams", "1")
    assert told["X-Request-Id"] == "my-own.id"
    assert "predict;dur=" in told["Server-Timing"]
    events = await streamed(gateway, STREAM, body("count 2000"))
    assert events.pop() == DONE
    assert [json.loads(data)["n"] for _, data in events] == list(range(2000))


@pytest.mark.parametrize(
    "path", ["/model/api-streams/latest/invocation", "/models/api-streams/invocation/latest/"]
)
async def test_every_route_that_predicts(gateway: Gateway, path: str) -> None:
    """Versions are named as ever, by the query or by Accept; compressed bodies and answers change nothing."""
    said = [("message", '"a"'), DONE]
    assert await streamed(gateway, f"{path}?stream=true", body("say a"), Accept="application/json") == said
    assert await streamed(gateway, path, body("say a"), Accept="text/event-stream") == said
    compressed = {"Content-Encoding": "gzip", "Accept-Encoding": "gzip"}
    sent = gzip.compress(body("say a"))
    assert await streamed(gateway, f"{path}?stream=true", sent, **compressed) == said


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
async def test_what_accept_means(accept: str, *, streams: bool) -> None:
    """A stream only for those who name it and do not like JSON as well."""
    assert prefers_events(accept) is streams


async def test_the_query_decides(gateway: Gateway) -> None:
    """`stream=false` is an answer in one piece; anything but true and false is refused."""
    status, whole = await invoke(gateway, f"{PATH}?stream=false", body("x"))
    assert status == 200
    assert whole["model"]["name"] == "api-streams"
    status, refused = await invoke(gateway, f"{PATH}?stream=perhaps", body("x"))
    assert (status, refused["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


async def test_chunks_come_as_they_are_made(gateway: Gateway) -> None:
    """The first is here before the last is made."""
    late = []
    async with gateway.post(STREAM, data=body("count 3 0.3"), headers=JSON) as answer:
        async for _, data in events_of(answer):
            if data != "[DONE]":
                late.append(time.time() - json.loads(data)["made"])
    assert len(late) == 3
    assert max(late) < 0.25


@pytest.mark.parametrize(
    ("path", "sent", "status", "code"),
    [
        (STREAM, BODY, 400, "INVALID_PARAMETER_VALUE"),
        (STREAM, b"{", 400, "INVALID_PARAMETER_VALUE"),
        (STREAM, body("say a", "say b"), 400, "INVALID_PARAMETER_VALUE"),
        (STREAM, body("raise it"), 500, "MODEL_ERROR"),
        (STREAM, body("die"), 500, "MODEL_ERROR"),
        ("/model/api-sums/2/invocation?stream=true", BODY, 406, "BAD_REQUEST"),
        ("/model/api-nobody/2/invocation?stream=true", BODY, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("/model/api-broken/1/invocation?stream=true", BODY, 424, "INVALID_STATE"),
    ],
)
async def test_an_error_before_the_first_chunk(
    gateway: Gateway, path: str, sent: bytes, status: int, code: str
) -> None:
    """It is an ordinary error answer with its status."""
    async with gateway.post(path, data=sent, headers={**JSON, "Accept": "text/event-stream"}) as answer:
        assert (answer.status, answer.content_type) == (status, "application/json")
        error = await answer.json()
    assert error["error_code"] == code
    assert "/secret" not in json.dumps(error)
    if status == 406:
        assert "predict_stream" in error["message"]


@pytest.mark.parametrize(
    ("trouble", "code"),
    [("raise it", "MODEL_ERROR"), ("die", "MODEL_ERROR"), ("sleep 60", "DEADLINE_EXCEEDED")],
)
async def test_an_error_in_the_midst(gateway: Gateway, trouble: str, code: str) -> None:
    """The chunks until then, an event of type `error` with the usual body, and no [DONE]."""
    first, second, (kind, data) = await streamed(
        gateway, STREAM, body(f"say a b; {trouble}"), **{"X-Request-Id": "broke"}
    )
    assert [first, second] == [("message", '"a"'), ("message", '"b"')]
    error = json.loads(data)
    assert (kind, error["error_code"], error["request_id"]) == ("error", code, "broke")
    assert "/secret" not in data
    assert "Traceback" not in data
    assert (await invoke(gateway, PATH, body("x")))[0] == 200


async def test_the_models_own_text_where_it_is_allowed(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """The setting holds for an error in the midst as for every other."""
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_MODEL_ERROR_TEXT="true") as gateway:
        *_, (kind, data) = await streamed(gateway, STREAM, body("say a; raise my own words"))
    assert kind == "error"
    assert "my own words" in json.loads(data)["message"]


@pytest.mark.parametrize("pause", [0.0, 0.2])
async def test_a_client_that_goes_away(gateway: Gateway, tmp_path: Path, pause: float) -> None:
    """The generator is closed in the worker, whose process goes on with others."""
    mark = tmp_path / "mark"
    (process,) = (await invoke(gateway, PATH, body("x")))[1]["predictions"]
    async with gateway.post(STREAM, data=body(f"count 1000000 {pause} {mark}"), headers=JSON) as answer:
        await anext(events_of(answer))
        assert not mark.exists()
        answer.close()
    await until(mark.exists)
    assert mark.read_text() == f"early {process}"
    assert (await invoke(gateway, PATH, body("x")))[1]["predictions"] == [process]


async def test_a_client_that_goes_away_before_the_first_chunk(gateway: Gateway, tmp_path: Path) -> None:
    """The stream that nobody waits for is closed as soon as it is open."""
    mark = tmp_path / "mark"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await streamed(gateway, STREAM, body(f"sleep 1; count 1000000 0 {mark}"))
    began = time.monotonic()
    assert (await invoke(gateway, PATH, body("x")))[0] == 200
    assert time.monotonic() - began < 3
    assert not mark.exists()


async def test_a_client_that_does_not_read(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """It fills no memory, since the model stops making chunks; and it holds the worker for a while only."""
    made = tmp_path / "made"
    async with gateway_at(
        mlflow_server.url, tmp_path / "cache", GATEWAY_REQUEST_TIMEOUT_SECONDS="1.5"
    ) as gateway:
        assert (await invoke(gateway, PATH, body("x")))[0] == 200
        reader, writer = await asyncio.open_connection(gateway.host, gateway.port, limit=2**10)
        sent = body(f"fill {made}")
        head = f"POST {STREAM} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(sent)}\r\n\r\n"
        writer.write(head.encode() + sent)
        await reader.readexactly(100)
        await asyncio.sleep(0.7)
        stuck = made.stat().st_size
        await asyncio.sleep(0.3)
        assert made.stat().st_size == stuck < 200
        await asyncio.sleep(1)
        assert (await invoke(gateway, PATH, body("x")))[0] == 200
        writer.close()


async def test_twenty_streams_and_predictions_beside_them(gateway: Gateway) -> None:
    """All at once, of two models: to each its own, whole and in order."""
    words = [[f"{n}.{m}" for m in range(5 + n)] for n in range(20)]
    streams = asyncio.gather(*(streamed(gateway, STREAM, body(f"say {' '.join(said)}")) for said in words))
    others = asyncio.gather(*(invoke(gateway, PATH, body("x")) for _ in range(20)))
    sums = asyncio.gather(*(invoke(gateway, "/model/api-sums/1/invocation", BODY) for _ in range(20)))
    assert await streams == [[*(("message", f'"{word}"') for word in said), DONE] for said in words]
    assert [status for status, _ in await others] == [200] * 20
    assert [answer["predictions"] for _, answer in await sums] == [[3.0, 7.0]] * 20


async def test_a_chat_agent(gateway: Gateway) -> None:
    """A unified LLM body, whole and in chunks: both as the agent itself answers."""
    path = "/model/api-chat/1/invocation"
    sent = json.dumps({"messages": [{"role": "user", "content": "one two"}]}).encode()
    status, whole = await invoke(gateway, path, sent)
    assert (status, whole["messages"][0]["content"]) == (200, "one two")
    *chunks, last = await streamed(gateway, f"{path}?stream=true", sent)
    assert [json.loads(data)["delta"]["content"] for _, data in chunks] == ["one", "two"]
    assert last == DONE


async def test_a_responses_agent(gateway: Gateway) -> None:
    """MLflow's newest kind of agent; the body may say `stream` too, which is the agent's to know."""
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


async def test_the_refusal_of_an_agents_input(gateway: Gateway) -> None:
    """What is wrong with a conversation is told before the stream begins."""
    status, error = await invoke(gateway, "/model/api-chat/1/invocation?stream=true", b'{"messages": [{}]}')
    assert (status, error["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
