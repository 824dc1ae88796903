"""Proves how a gateway of one process starts, logs and ends."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.support.metrics_page import wait_for_predictions

if TYPE_CHECKING:
    from pathlib import Path

    from tests.end_to_end.conftest import Process, Start

PATH = "/model/api-commands/1/invocation"


async def run_command(
    client: aiohttp.ClientSession, gateway: Process, *commands: str
) -> tuple[int, str | None, Any]:
    """Have the model `api-commands` run commands; return status, Connection header and JSON."""
    body = {"inputs": [{"do": command} for command in commands]}
    async with client.post(gateway.url + PATH, json=body) as response:
        return response.status, response.headers.get("Connection"), await response.json()


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
async def test_requests_in_flight_are_answered(
    client: aiohttp.ClientSession, start: Start, tmp_path: Path, number: signal.Signals
) -> None:
    """After a signal the port is closed, requests in flight are answered, and all processes end: status 0."""
    gateway = start(GATEWAY_DRAIN_SECONDS="1000")
    release = tmp_path / "release"
    running = [asyncio.create_task(run_command(client, gateway, f"wait_for {release}")) for _ in range(3)]
    await wait_for_predictions(gateway.url, 3)
    assert gateway.others()
    gateway.send(number)
    await gateway.wait_for("shutdown_draining")
    await gateway.wait_until_closed()
    release.touch()
    assert [status for status, *_ in await asyncio.gather(*running)] == [200] * 3
    assert await gateway.exit_status() == 0
    assert await asyncio.to_thread(gateway.left) == []


@pytest.mark.slow
async def test_a_response_during_the_drain_closes_its_connection(
    client: aiohttp.ClientSession, start: Start, tmp_path: Path
) -> None:
    """Predictions and errors have `Connection: close`, so that clients with a connection pool reconnect."""
    gateway = start(GATEWAY_DRAIN_SECONDS="1000")
    release = tmp_path / "release"
    assert (await run_command(client, gateway, "x"))[:2] == (200, None)
    first = asyncio.create_task(run_command(client, gateway, f"wait_for {release}"))
    await wait_for_predictions(gateway.url, 1)
    second = asyncio.create_task(run_command(client, gateway, f"wait_for {release}", "raise x"))
    await wait_for_predictions(gateway.url, 2)
    gateway.send(signal.SIGTERM)
    await gateway.wait_for("shutdown_draining")
    release.touch()
    assert [(await first)[:2], (await second)[:2]] == [(200, "close"), (500, "close")]
    assert await gateway.exit_status() == 0


@pytest.mark.slow
async def test_the_drain_has_an_end(client: aiohttp.ClientSession, start: Start) -> None:
    """A request that takes longer than the drain time is aborted, and the log has the number of these."""
    gateway = start(GATEWAY_DRAIN_SECONDS="0.5")
    running = asyncio.create_task(run_command(client, gateway, "sleep 1000"))
    await wait_for_predictions(gateway.url, 1)
    gateway.send(signal.SIGTERM)
    assert await gateway.exit_status() == 0
    assert await asyncio.to_thread(gateway.left) == []
    assert [record["in_flight"] for record in gateway.events("shutdown_aborted")] == [1]
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.slow
@pytest.mark.parametrize(("drain", "completes"), [("1000", True), ("0.5", False)])
async def test_a_stream_in_flight(
    client: aiohttp.ClientSession, start: Start, tmp_path: Path, drain: str, *, completes: bool
) -> None:
    """A stream ends normally if the drain time allows it, and is aborted otherwise; no process is left."""
    gateway = start(GATEWAY_DRAIN_SECONDS=drain)
    release = tmp_path / "release"
    url = f"{gateway.url}/model/api-streams/1/invocation?stream=true"
    commands = f"count 1; wait_for {release}; count 1"
    async with client.post(url, json={"inputs": [{"do": commands}]}) as response:
        assert (await response.content.readline()).startswith(b"data: ")
        gateway.send(signal.SIGTERM)
        await gateway.wait_for("shutdown_draining")
        if completes:
            release.touch()
            assert (await response.content.read()).endswith(b"data: [DONE]\n\n")
        else:
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.content.read()
    assert await gateway.exit_status() == 0
    assert await asyncio.to_thread(gateway.left) == []


@pytest.mark.slow
async def test_a_second_signal_ends_the_drain(client: aiohttp.ClientSession, start: Start) -> None:
    """It aborts the requests in flight: the gateway exits with status 1, and no process is left."""
    gateway = start(GATEWAY_DRAIN_SECONDS="1000")
    running = asyncio.create_task(run_command(client, gateway, "sleep 1000"))
    await wait_for_predictions(gateway.url, 1)
    gateway.send(signal.SIGTERM)
    await gateway.wait_for("shutdown_draining")
    gateway.send(signal.SIGTERM)
    assert await gateway.exit_status() == 1
    assert await asyncio.to_thread(gateway.left) == []
    await asyncio.gather(running, return_exceptions=True)


async def test_an_idle_connection_does_not_delay_the_end(start: Start) -> None:
    """An open connection without a request is not in flight."""
    gateway = start(GATEWAY_DRAIN_SECONDS="1000")
    async with aiohttp.ClientSession() as idle:
        async with idle.get(f"{gateway.url}/health/live") as response:
            assert response.status == 200
            await response.read()
        gateway.send(signal.SIGTERM)
        assert await gateway.exit_status() == 0


async def test_a_port_in_use(start: Start) -> None:
    """The second gateway logs the reason and exits with status 1."""
    first = start()
    second = start(GATEWAY_PORT=first.url.rpartition(":")[2])
    assert await second.exit_status() == 1
    (record,) = second.events("listen_failed")
    assert "in use" in record["message"]
    assert await asyncio.to_thread(second.left) == []


@pytest.mark.slow
async def test_the_log_is_json_and_the_worker_sees_no_secret(
    client: aiohttp.ClientSession, start: Start
) -> None:
    """A failed request is one JSON line with its id; a model that looks for credentials finds none."""
    gateway = start(
        preload="lean",
        **dict.fromkeys(["AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_TOKEN", "SOME_API_KEY"], "s3cr3t"),
    )
    status, _, answer = await run_command(client, gateway, "environ")
    assert status == 200
    assert "s3cr3t" not in json.dumps(answer)
    assert "PATH" in answer["predictions"][0]
    headers = {"X-Request-Id": "find-me"}
    async with client.post(
        f"{gateway.url}/model/api-broken/1/invocation", json={"inputs": [1]}, headers=headers
    ) as response:
        assert response.status == 424
    gateway.send(signal.SIGTERM)
    assert await gateway.exit_status() == 0
    (record,) = [record for record in map(json.loads, gateway.log()) if record.get("status") == 424]
    assert record["event"] == "request_failed"
    assert record["request_id"] == "find-me"
    assert (record["level"], record["model"]) == ("warning", "api-broken/1")
    assert "s3cr3t" not in "\n".join(gateway.log())
    failures = [*gateway.events("request_failed"), *gateway.events("internal_error")]
    assert not any(each.get("model") == "api-commands/1" for each in failures)
