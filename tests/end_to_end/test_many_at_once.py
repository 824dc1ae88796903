"""Proves what happens when many clients come at once."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.support.gateways import BODY, Gateway, gateway_at, invoke
from tests.support.relay import relay_to

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

CLIENTS = 64


def body(a: float, b: float) -> bytes:
    return json.dumps({"dataframe_records": [{"a": a, "b": b}]}).encode()


async def test_a_herd_at_a_cold_model(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """64 first requests at once: one download of each file, one load, and to each its own right answer."""
    async with relay_to(mlflow_server.url) as relay, gateway_at(relay.url, tmp_path) as gateway:
        answers = await asyncio.gather(
            *(
                invoke(gateway, "/model/api-cold-herd/1/invocation", body(float(n), 0.5))
                for n in range(CLIENTS)
            )
        )
        downloads = Counter(relay.artifacts())
    assert [status for status, _ in answers] == [200] * CLIENTS
    assert [answer["predictions"] for _, answer in answers] == [[(n + 0.5) * 5] for n in range(CLIENTS)]
    assert any(path.endswith("/MLmodel") for path in downloads)
    assert set(downloads.values()) == {1}
    assert (mlflow_server.folder / "api-cold-herd.loads").read_text() == "loaded\n"


async def test_equal_bodies_for_two_models(gateway: Gateway) -> None:
    """Two models asked the same thing in turn by 64 clients: each gets its own model's answer."""
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
    """64 clients with data of their own never get each other's."""

    async def client(number: int) -> None:
        for turn in range(4):
            path = "/model/api-sums/2/invocation"
            status, answer = await invoke(gateway, path, body(float(number), turn / 2))
            assert (status, answer["predictions"]) == (200, [(number + turn / 2) * 2])

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))


async def test_a_bad_body_among_good_ones(gateway: Gateway) -> None:
    """It alone is refused."""
    bodies = [b'{"dataframe_records": [{"a": "x", "b": 1}]}' if n % 8 == 3 else BODY for n in range(CLIENTS)]
    answers = await asyncio.gather(
        *(invoke(gateway, "/model/api-sums/1/invocation", each) for each in bodies)
    )
    assert [status for status, _ in answers] == [400 if n % 8 == 3 else 200 for n in range(CLIENTS)]


async def test_a_full_queue(mlflow_server: MlflowServer, registered: list[str], tmp_path: Path) -> None:
    """Beyond the queue's length a request is refused at once, with Retry-After; the others are answered."""
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_MAX_QUEUE="2") as gateway:
        path = "/model/api-commands/1/invocation"
        slow = b'{"inputs": [{"do": "sleep 0.5"}]}'
        assert (await invoke(gateway, path, b'{"inputs": [{"do": "sleep 0"}]}'))[0] == 200
        answers = await asyncio.gather(*(invoke(gateway, path, slow) for _ in range(16)))
        statuses = Counter(status for status, _ in answers)
        assert set(statuses) == {200, 503}
        assert statuses[503] >= 8
        assert (await invoke(gateway, path, slow))[0] == 200


async def test_clients_that_go_away(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    """They take their requests with them: no error is logged, and the next client is served."""
    path = "/model/api-commands/1/invocation"
    slow = b'{"inputs": [{"do": "sleep 0.3"}]}'
    assert (await invoke(gateway, path, slow))[0] == 200
    gone = [asyncio.create_task(invoke(gateway, path, slow)) for _ in range(8)]
    await asyncio.sleep(0.1)
    for task in gone:
        task.cancel()
    await asyncio.gather(*gone, return_exceptions=True)
    async with asyncio.timeout(3):
        assert (await invoke(gateway, path, slow))[0] == 200
    assert [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}] == []
