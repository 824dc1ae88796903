"""Proves that no response is wrong or lost when workers die or hang under load."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

import psutil
import pytest

from gateway.api.keys import COMPONENTS
from tests.support.figures import note
from tests.support.gateways import Gateway, gateway_at, invoke, pool_of
from tests.support.http_clients import clients, post_commands
from tests.support.waiting import until
from workers.metrics import PREDICTION_RETRIES, WORKER_EXITS, WORKER_STARTS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

CLIENTS = 64
_COMMANDS = ("api-commands", "1")


def pids(gateway: Gateway, name: str = "api-commands") -> list[int]:
    """Return the worker processes of a loaded model."""
    loaded = pool_of(gateway.app)._slots.loaded
    return [pid for key, entry in loaded.items() if key.name == name for pid in entry.group.pids]


def any_replaced(gateway: Gateway, before: list[int]) -> bool:
    """Return whether the model has as many workers as `before`, and a new one among them."""
    return len(pids(gateway)) == len(before) and set(pids(gateway)) != set(before)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGABRT])
async def test_killed_under_load(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path, number: signal.Signals
) -> None:
    """A worker is killed ten times at random moments; each of 64 clients gets all its own responses."""
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_WORKERS_PER_MODEL="2") as gateway:
        await post_commands(gateway, "x")
        counters = gateway.app[COMPONENTS].counters
        pauses = []
        async with clients(gateway, CLIENTS, "sleep 0.004") as results:
            for _ in range(10):
                await asyncio.sleep(random.uniform(0.1, 0.4))  # noqa: S311 - a moment, no secret
                before = pids(gateway)
                moment = monotonic()
                os.kill(random.choice(before), number)  # noqa: S311 - as above
                await until(partial(any_replaced, gateway, before))
                pauses.append(monotonic() - moment)
        assert results.wrong == []
        assert results.refused == []
        assert counters.value(WORKER_EXITS, *_COMMANDS, "crash") == 10
        assert counters.value(WORKER_STARTS, *_COMMANDS) == 12
        assert counters.value(PREDICTION_RETRIES, *_COMMANDS) > 0
        note(
            f"worker {number.name} under load",
            replaced_longest=max(pauses),
            answers=len(results.right),
            failed=len(results.refused),
            slowest=results.quantile(1.0),
        )


async def test_the_only_worker_killed_under_load(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """All clients wait for its replacement, and no request fails."""
    async with gateway_at(mlflow_server.url, tmp_path) as gateway:
        await post_commands(gateway, "x")
        pauses = []
        async with clients(gateway, CLIENTS, "sleep 0.002") as results:
            for _ in range(5):
                await asyncio.sleep(0.1)  # of load
                moment, before = monotonic(), pids(gateway)
                os.kill(before[0], signal.SIGKILL)
                await until(partial(any_replaced, gateway, before))
                await until(partial(results.answered_since, moment))
                pauses.append(results.pause_after(moment))
        assert (results.wrong, results.refused) == ([], [])
        note("the only worker killed under load", first_answer_longest=max(pauses), failed=0)


async def test_killed_idle(mlflow_server: MlflowServer, registered: list[str], tmp_path: Path) -> None:
    """A worker is killed while there is no request; the next request is served by its replacement."""
    async with gateway_at(mlflow_server.url, tmp_path) as gateway:
        pauses = []
        for _ in range(3):
            (before,) = (await post_commands(gateway, "x"))[2]["predictions"]
            moment = monotonic()
            os.kill(before, signal.SIGKILL)
            status, _, answer = await post_commands(gateway, "x")
            pauses.append(monotonic() - moment)
            assert status == 200
            assert answer["predictions"] != [before]
        note("worker killed while idle", next_answer_longest=max(pauses))


@pytest.mark.parametrize(
    "deadly",
    [
        "die",
        pytest.param("segfault", marks=pytest.mark.slow),
        pytest.param("quit", marks=pytest.mark.slow),
        "exit",
    ],
)
async def test_a_request_that_kills_its_worker(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path, deadly: str
) -> None:
    """It fails with 500 after it has killed two workers alone; all other requests are answered."""
    async with gateway_at(mlflow_server.url, tmp_path) as gateway:
        await post_commands(gateway, "x")
        async with clients(gateway, CLIENTS - 4) as results:
            await until(lambda: len(results.right) > CLIENTS)
            for _ in range(2):
                killers = await asyncio.gather(*(post_commands(gateway, deadly) for _ in range(4)))
                assert {status for status, _, _ in killers} == {500}
                assert {answer["error_code"] for _, _, answer in killers} == {"MODEL_ERROR"}
        assert (results.wrong, results.refused) == ([], [])
        crashes = gateway.app[COMPONENTS].counters.value(WORKER_EXITS, *_COMMANDS, "crash")
        least, most = (0, 0) if deadly == "exit" else (16, 24)  # two each, and perhaps one with others
        assert least <= crashes <= most
        note(f"request that makes its worker {deadly}", crashes=crashes, others_failed=len(results.refused))


async def test_killed_during_its_load(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """The load is tried again at once, and its request is answered; other models are served meanwhile."""
    async with gateway_at(mlflow_server.url, tmp_path) as gateway:
        await post_commands(gateway, "x")
        fork_server = psutil.Process(pids(gateway)[0]).parent()
        assert fork_server is not None
        async with clients(gateway, 8) as results:
            known = set(fork_server.children())
            request = asyncio.create_task(
                invoke(gateway, "/model/api-slow/1/invocation", body=b'{"inputs": [1]}')
            )
            await until(lambda: bool(set(fork_server.children()) - known))
            (new,) = set(fork_server.children()) - known
            await asyncio.sleep(0.5)  # it loads for two seconds
            new.kill()
            status, answer = await request
        assert (status, answer["predictions"]) == (200, [1.0])
        assert (results.wrong, results.refused) == ([], [])


@pytest.mark.slow
async def test_a_hung_model(mlflow_server: MlflowServer, registered: list[str], tmp_path: Path) -> None:
    """Its request fails with 504 at the deadline; its worker is replaced, and answers the requests behind."""
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_REQUEST_TIMEOUT_SECONDS="8") as gateway:
        (before,) = (await post_commands(gateway, "x"))[2]["predictions"]
        moment = monotonic()
        hung = asyncio.create_task(post_commands(gateway, "sleep 1000"))
        await asyncio.sleep(6.0)  # so that the others still have time after the replacement
        others = [asyncio.create_task(post_commands(gateway, f"say {number}")) for number in range(CLIENTS)]
        status, _, answer = await hung
        waited = monotonic() - moment
        assert (status, answer["error_code"]) == (504, "DEADLINE_EXCEEDED")
        answered = await asyncio.gather(*others)
        assert [answer["predictions"] for _, _, answer in answered] == [[str(n)] for n in range(CLIENTS)]
        assert pids(gateway) != [before]
        assert not psutil.pid_exists(before)
        assert gateway.app[COMPONENTS].counters.value(WORKER_EXITS, *_COMMANDS, "timeout") == 1
        note("predict that never returns", failed_after=waited, others_answered_after=monotonic() - moment)


@pytest.mark.slow
@pytest.mark.serial
async def test_no_fault_leaves_anything_behind(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """Measures descriptors and tasks: after many faults there are no more than before."""
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_REQUEST_TIMEOUT_SECONDS="4") as gateway:
        async with clients(gateway, 16):  # their connections stay open
            await post_commands(gateway, "x")
        await _wait_until_idle(gateway)
        before = _descriptors(), len(asyncio.all_tasks())
        async with clients(gateway, 16, "sleep 0.002") as results:
            for command in ("die", "quit", "sleep 100", "raise", "exit", "segfault") * 2:
                status, _, _ = await post_commands(gateway, command)
                assert status in {500, 504}
        assert results.wrong == []
        assert results.statuses() <= {504}
        await _wait_until_idle(gateway)
        await until(lambda: (_descriptors(), len(asyncio.all_tasks())) <= before)


async def _wait_until_idle(gateway: Gateway) -> None:
    """Wait until the model has one idle worker."""
    await until(lambda: len(pids(gateway)) == 1)
    assert (await post_commands(gateway, "x"))[0] == 200


def _descriptors() -> int:
    return psutil.Process().num_fds()
