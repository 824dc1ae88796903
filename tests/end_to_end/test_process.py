"""Proves how a gateway starts, logs and ends as a process."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.end_to_end.conftest import Process

PATH = "/model/api-commands/1/invocation"


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client."""
    async with aiohttp.ClientSession() as session:
        yield session


async def do(client: aiohttp.ClientSession, gateway: Process, command: str) -> tuple[int, Any]:
    """Status and JSON of what the model `api-commands` answers."""
    async with client.post(gateway.url + PATH, json={"inputs": [{"do": command}]}) as answer:
        return answer.status, await answer.json()


async def status_of(gateway: Process) -> int:
    return await asyncio.to_thread(gateway.status)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_requests_in_flight_are_answered(
    client: aiohttp.ClientSession, start: Callable[..., Process], number: signal.Signals
) -> None:
    """The signal closes the listener; what runs is answered; then all processes end, with status 0."""
    gateway = start()
    assert (await do(client, gateway, "sleep 0"))[0] == 200
    assert gateway.others()
    running = [asyncio.create_task(do(client, gateway, "sleep 0.7")) for _ in range(3)]
    await asyncio.sleep(0.3)
    gateway.send(number)
    await asyncio.sleep(0.3)
    with pytest.raises(aiohttp.ClientConnectionError):
        async with aiohttp.ClientSession() as late, late.get(f"{gateway.url}/health/live"):
            pass
    assert [status for status, _ in await asyncio.gather(*running)] == [200] * 3
    assert await status_of(gateway) == 0
    assert gateway.left() == []


async def test_an_answer_during_the_drain_is_its_connections_last(
    client: aiohttp.ClientSession, start: Callable[..., Process]
) -> None:
    """Answers and refusals say so, and a client with a pool of connections goes elsewhere."""
    gateway = start()
    assert (await do(client, gateway, "sleep 0"))[0] == 200

    async def told(command: str) -> tuple[int, str | None]:
        async with client.post(gateway.url + PATH, json={"inputs": [{"do": command}]}) as answer:
            return answer.status, answer.headers.get("Connection")

    assert await told("sleep 0") == (200, None)
    first = asyncio.create_task(told("sleep 0.7"))
    await asyncio.sleep(0.2)
    second = asyncio.create_task(told("raise x"))
    await asyncio.sleep(0.2)
    gateway.send(signal.SIGTERM)
    assert [await first, await second] == [(200, "close"), (500, "close")]
    assert await status_of(gateway) == 0


async def test_the_drain_has_an_end(client: aiohttp.ClientSession, start: Callable[..., Process]) -> None:
    """A request that takes longer than allowed is given up, and the log says so."""
    gateway = start(GATEWAY_DRAIN_SECONDS="0.5")
    assert (await do(client, gateway, "sleep 0"))[0] == 200
    running = asyncio.create_task(do(client, gateway, "sleep 50"))
    await asyncio.sleep(0.3)
    began = time.monotonic()
    gateway.send(signal.SIGTERM)
    assert await status_of(gateway) == 0
    assert time.monotonic() - began < 8
    assert gateway.left() == []
    assert any("aborting" in line for line in gateway.log())
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize(("drain", "whole"), [("20", True), ("0.5", False)])
async def test_a_stream_in_flight(
    client: aiohttp.ClientSession, start: Callable[..., Process], drain: str, *, whole: bool
) -> None:
    """It goes on to its end, for as long as requests may be drained; no process is left."""
    gateway = start(GATEWAY_DRAIN_SECONDS=drain)
    url = f"{gateway.url}/model/api-streams/1/invocation?stream=true"
    async with client.post(url, json={"inputs": [{"do": f"count {15 if whole else 300} 0.1"}]}) as answer:
        assert (await answer.content.readline()).startswith(b"data: ")
        gateway.send(signal.SIGTERM)
        if whole:
            assert (await answer.content.read()).endswith(b"data: [DONE]\n\n")
        else:
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.content.read()
    assert await status_of(gateway) == 0
    assert gateway.left() == []


async def test_a_second_signal_ends_at_once(
    client: aiohttp.ClientSession, start: Callable[..., Process]
) -> None:
    """Whatever still runs; the status tells, and nothing is left."""
    gateway = start()
    assert (await do(client, gateway, "sleep 0"))[0] == 200
    running = asyncio.create_task(do(client, gateway, "sleep 50"))
    await asyncio.sleep(0.3)
    began = time.monotonic()
    gateway.send(signal.SIGTERM)
    await asyncio.sleep(0.5)
    gateway.send(signal.SIGTERM)
    assert await status_of(gateway) == 1
    assert time.monotonic() - began < 8
    assert gateway.left() == []
    await asyncio.gather(running, return_exceptions=True)


async def test_an_idle_connection_does_not_hold_it_up(start: Callable[..., Process]) -> None:
    """A client that keeps its connection open is no request in flight."""
    gateway = start()
    async with aiohttp.ClientSession() as idle:
        async with idle.get(f"{gateway.url}/health/live") as answer:
            assert answer.status == 200
            await answer.read()
        began = time.monotonic()
        gateway.send(signal.SIGTERM)
        assert await status_of(gateway) == 0
        assert time.monotonic() - began < 5


async def test_a_port_in_use(start: Callable[..., Process]) -> None:
    """Status 1 and a line that says it."""
    first = start()
    second = start(GATEWAY_PORT=first.url.rpartition(":")[2])
    assert await status_of(second) == 1
    assert any("Cannot listen" in line and "in use" in line for line in second.log())
    assert second.left() == []


async def test_the_log_is_json_and_the_worker_sees_no_secret(
    client: aiohttp.ClientSession, start: Callable[..., Process]
) -> None:
    """A failed request is one JSON line under its id; a model that looks for credentials finds none."""
    gateway = start(
        **dict.fromkeys(["AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_TOKEN", "SOME_API_KEY"], "s3cr3t")
    )
    status, answer = await do(client, gateway, "environ")
    assert status == 200
    assert "s3cr3t" not in json.dumps(answer)
    assert "PATH" in answer["predictions"][0]
    headers = {"X-Request-Id": "find-me"}
    async with client.post(
        f"{gateway.url}/model/api-broken/1/invocation", json={"inputs": [1]}, headers=headers
    ) as no:
        assert no.status == 424
    gateway.send(signal.SIGTERM)
    assert await status_of(gateway) == 0
    lines = [json.loads(line) for line in gateway.log()]
    (line,) = [line for line in lines if line.get("status") == 424]
    assert line["request_id"] == "find-me"
    assert (line["level"], line["model"]) == ("warning", "api-broken/1")
    assert "s3cr3t" not in "\n".join(gateway.log())
    assert not any(line.get("model") == "api-commands/1" for line in lines)
