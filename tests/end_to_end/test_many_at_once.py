"""Proves what happens when many clients send requests at once."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from gateway.api.keys import COMPONENTS
from tests.support.gateways import BODY, NO_WALL, Gateway, gateway_at, invoke
from tests.support.http_clients import post_commands
from tests.support.relay import relay_to
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

CLIENTS = 64


def body(a: float, b: float) -> bytes:
    return json.dumps({"dataframe_records": [{"a": a, "b": b}]}).encode()


def requests_of_commands(gateway: Gateway) -> tuple[int, int]:
    """Return how many requests of the model `api-commands` run and wait."""
    statuses = gateway.app[COMPONENTS].engine.statuses()
    found = [status for key, status in statuses.items() if key.name == "api-commands"]
    return sum(status.running for status in found), sum(status.waiting for status in found)


async def test_many_first_requests(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """64 first requests at once cause one download of each file and one load; each gets its own result."""
    async with relay_to(mlflow_server.url) as relay, gateway_at(relay.url, tmp_path, **NO_WALL) as gateway:
        answers = await asyncio.gather(
            *(
                invoke(gateway, "/model/api-cold-many/1/invocation", body(float(n), 0.5))
                for n in range(CLIENTS)
            )
        )
        downloads = Counter(relay.artifacts())
    assert [status for status, _ in answers] == [200] * CLIENTS
    assert [answer["predictions"] for _, answer in answers] == [[(n + 0.5) * 5] for n in range(CLIENTS)]
    assert any(path.endswith("/MLmodel") for path in downloads)
    assert set(downloads.values()) == {1}
    assert (mlflow_server.folder / "api-cold-many.loads").read_text() == "loaded\n"


async def test_equal_bodies_for_two_models(gateway: Gateway) -> None:
    """64 clients send the same body to two models in turn; each response is of the requested model."""
    expected = {"api-sums/1": [3.0, 7.0], "api-tens/1": [30.0, 70.0]}

    async def client(number: int) -> None:
        for turn in range(6):
            name = ("api-sums/1", "api-tens/1")[(number + turn) % 2]
            status, answer = await invoke(gateway, f"/model/{name}/invocation", BODY)
            assert status == 200
            assert answer["predictions"] == expected[name]
            assert f"{answer['model']['name']}/{answer['model']['version']}" == name

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))


async def test_different_bodies_for_one_model(gateway: Gateway) -> None:
    """64 clients send different bodies; no client gets the result of another."""

    async def client(number: int) -> None:
        for turn in range(4):
            path = "/model/api-sums/2/invocation"
            status, answer = await invoke(gateway, path, body(float(number), turn / 2))
            assert (status, answer["predictions"]) == (200, [(number + turn / 2) * 2])

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))


async def test_a_bad_body_among_good_ones(gateway: Gateway) -> None:
    """Only requests with a bad body fail."""
    bodies = [b'{"dataframe_records": [{"a": "x", "b": 1}]}' if n % 8 == 3 else BODY for n in range(CLIENTS)]
    answers = await asyncio.gather(
        *(invoke(gateway, "/model/api-sums/1/invocation", each) for each in bodies)
    )
    assert [status for status, _ in answers] == [400 if n % 8 == 3 else 200 for n in range(CLIENTS)]


async def test_a_full_queue(mlflow_server: MlflowServer, registered: list[str], tmp_path: Path) -> None:
    """If the queue is full a request is rejected at once with Retry-After; the others are answered."""
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_MAX_QUEUE="2") as gateway:
        release = tmp_path / "release"
        await load_slow_model(gateway)
        admitted = [asyncio.create_task(post_commands(gateway, f"wait_for {release}"))]
        await until(lambda: requests_of_commands(gateway) == (1, 0))
        admitted += [asyncio.create_task(post_commands(gateway, f"wait_for {release}")) for _ in range(2)]
        await until(lambda: requests_of_commands(gateway) == (1, 2))
        for _ in range(13):
            status, headers, _ = await post_commands(gateway, "x")
            assert status == 503
            assert int(headers["Retry-After"]) >= 1
        release.touch()
        assert [status for status, *_ in await asyncio.gather(*admitted)] == [200] * 3
        assert (await post_commands(gateway, "x"))[0] == 200


async def test_clients_that_disconnect(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Their waiting requests are dropped and do not run, no error is logged, and other clients are served."""
    release, ran = tmp_path / "release", tmp_path / "ran"
    async with gateway_at(mlflow_server.url, tmp_path) as gateway:
        await load_slow_model(gateway)
        first = asyncio.create_task(post_commands(gateway, f"wait_for {release}"))
        await until(lambda: requests_of_commands(gateway) == (1, 0))
        tasks = [asyncio.create_task(post_commands(gateway, f"note {ran}")) for _ in range(8)]
        await until(lambda: requests_of_commands(gateway) == (1, 8))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await until(lambda: requests_of_commands(gateway) == (1, 0))
        release.touch()
        assert (await first)[0] == 200
        assert (await post_commands(gateway, "x"))[0] == 200
    assert not ran.exists()
    assert [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}] == []


async def load_slow_model(gateway: Gateway) -> None:
    """Load the model `api-commands`, and let it be so slow that its worker gets one request at a time."""
    for _ in range(3):
        assert (await post_commands(gateway, "sleep 0.1"))[0] == 200
