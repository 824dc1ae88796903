"""Workers that die in every way and at every moment, under load: no answer is wrong or lost."""

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
from tests.support.gateways import Gateway, gateway_at, invoke
from tests.support.http_clients import clients, told
from tests.support.waiting import until
from workers.metrics import PREDICTION_RETRIES, WORKER_EXITS, WORKER_STARTS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

CLIENTS = 64
_COMMANDS = ("api-commands", "1")


def pids(gateway: Gateway, name: str = "api-commands") -> list[int]:
    """The processes of a loaded model."""
    held = gateway.app[COMPONENTS].pool._slots.loaded
    return [pid for key, one in held.items() if key.name == name for pid in one.group.pids]


async def replaced(gateway: Gateway, before: list[int]) -> list[int]:
    """The model's processes once each of those before has another in its place."""
    await until(lambda: len(pids(gateway)) == len(before) and not set(pids(gateway)) & set(before))
    return pids(gateway)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGABRT])
async def test_killed_under_load(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path, number: signal.Signals
) -> None:
    """Ten times, mid-batch and between: 64 clients get their own answers, each of them."""
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_WORKERS_PER_MODEL="2") as gateway:
        await told(gateway, "x")
        tally = gateway.app[COMPONENTS].counters
        pauses = []
        async with clients(gateway, CLIENTS, "sleep 0.004") as seen:
            for _ in range(10):
                await asyncio.sleep(random.uniform(0.1, 0.4))  # noqa: S311 - a moment, no secret
                before = pids(gateway)
                moment = monotonic()
                os.kill(random.choice(before), number)  # noqa: S311 - likewise
                await until(partial(_another, gateway, before))
                pauses.append(monotonic() - moment)
        assert seen.wrong == []
        assert seen.refused == []
        assert tally.value(WORKER_EXITS, *_COMMANDS, "crash") == 10
        assert tally.value(WORKER_STARTS, *_COMMANDS) == 12
        assert tally.value(PREDICTION_RETRIES, *_COMMANDS) > 0
        note(
            f"worker {number.name} under load",
            replaced_longest=max(pauses),
            answers=len(seen.right),
            failed=len(seen.refused),
            slowest=seen.quantile(1.0),
        )


async def test_the_only_worker_killed_under_load(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """With one worker all wait until its place is taken; nobody fails."""
    async with gateway_at(mlflow_server.url, tmp_path) as gateway:
        await told(gateway, "x")
        pauses = []
        async with clients(gateway, CLIENTS, "sleep 0.002") as seen:
            for _ in range(5):
                await asyncio.sleep(0.3)
                moment, before = monotonic(), pids(gateway)
                os.kill(before[0], signal.SIGKILL)
                await replaced(gateway, before)
                await until(partial(seen.answered_since, moment))
                pauses.append(seen.pause_after(moment))
        assert (seen.wrong, seen.refused) == ([], [])
        note("the only worker killed under load", first_answer_longest=max(pauses), failed=0)


async def test_killed_idle(mlflow_server: MlflowServer, registered: list[str], tmp_path: Path) -> None:
    """Nobody asks as it dies; whoever asks next is answered by the new one."""
    async with gateway_at(mlflow_server.url, tmp_path) as gateway:
        pauses = []
        for _ in range(3):
            (before,) = (await told(gateway, "x"))[2]["predictions"]
            moment = monotonic()
            os.kill(before, signal.SIGKILL)
            status, _, answer = await told(gateway, "x")
            pauses.append(monotonic() - moment)
            assert status == 200
            assert answer["predictions"] != [before]
        note("worker killed while idle", next_answer_longest=max(pauses))


@pytest.mark.parametrize("deadly", ["die", "segfault", "quit", "exit"])
async def test_a_poisonous_body(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path, deadly: str
) -> None:
    """It gets 500 once it alone has killed two workers; its neighbours and all others are answered."""
    async with gateway_at(mlflow_server.url, tmp_path) as gateway:
        await told(gateway, "x")
        async with clients(gateway, CLIENTS - 4) as seen:
            await asyncio.sleep(0.5)
            for _ in range(2):
                poisoned = await asyncio.gather(*(told(gateway, deadly) for _ in range(4)))
                assert {status for status, _, _ in poisoned} == {500}
                assert {answer["error_code"] for _, _, answer in poisoned} == {"MODEL_ERROR"}
        assert (seen.wrong, seen.refused) == ([], [])
        deaths = gateway.app[COMPONENTS].counters.value(WORKER_EXITS, *_COMMANDS, "crash")
        least, most = (0, 0) if deadly == "exit" else (16, 24)  # two each, and perhaps one with others
        assert least <= deaths <= most
        note(f"body that lets its worker {deadly}", deaths=deaths, others_failed=len(seen.refused))


async def test_killed_as_it_loads(mlflow_server: MlflowServer, registered: list[str], tmp_path: Path) -> None:
    """The load is tried once more at once, and the request that waits is answered; others are untouched."""
    async with gateway_at(mlflow_server.url, tmp_path) as gateway:
        await told(gateway, "x")
        template = psutil.Process(pids(gateway)[0]).parent()
        assert template is not None
        async with clients(gateway, 8) as seen:
            known = set(template.children())
            asked = asyncio.create_task(
                invoke(gateway, "/model/api-slow/1/invocation", body=b'{"inputs": [1]}')
            )
            await until(lambda: bool(set(template.children()) - known))
            new = set(template.children()) - known
            await asyncio.sleep(1.0)  # it is in the midst of the four seconds that its load takes
            new.pop().kill()
            status, answer = await asked
        assert (status, answer["predictions"]) == (200, [1.0])
        assert (seen.wrong, seen.refused) == ([], [])


async def test_a_hung_model(mlflow_server: MlflowServer, registered: list[str], tmp_path: Path) -> None:
    """504 at the deadline for it alone; its process is replaced, and the others are answered by the new."""
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_REQUEST_TIMEOUT_SECONDS="3") as gateway:
        (before,) = (await told(gateway, "x"))[2]["predictions"]
        moment = monotonic()
        hung = asyncio.create_task(told(gateway, "sleep 1000"))
        await asyncio.sleep(2.0)
        others = [asyncio.create_task(told(gateway, f"say {number}")) for number in range(CLIENTS)]
        status, _, answer = await hung
        waited = monotonic() - moment
        assert (status, answer["error_code"]) == (504, "DEADLINE_EXCEEDED")
        answered = await asyncio.gather(*others)
        assert [answer["predictions"] for _, _, answer in answered] == [[str(n)] for n in range(CLIENTS)]
        assert pids(gateway) != [before]
        assert not psutil.pid_exists(before)
        assert gateway.app[COMPONENTS].counters.value(WORKER_EXITS, *_COMMANDS, "timeout") == 1
        note("predict that never returns", told_after=waited, others_answered_after=monotonic() - moment)


async def test_everything_at_once_leaves_nothing(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """After a storm of deaths the gateway has the processes, descriptors and tasks that it had before."""
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_REQUEST_TIMEOUT_SECONDS="4") as gateway:
        async with clients(gateway, 16):  # whose connections stay
            await told(gateway, "x")
        await _quiet(gateway)
        before = _descriptors(), len(asyncio.all_tasks())
        async with clients(gateway, 16, "sleep 0.002") as seen:
            for command in ("die", "quit", "sleep 100", "raise", "exit", "segfault") * 2:
                status, _, _ = await told(gateway, command)
                assert status in {500, 504}
        assert seen.wrong == []
        assert seen.statuses() <= {504}
        await _quiet(gateway)
        await until(lambda: (_descriptors(), len(asyncio.all_tasks())) <= before)


async def _quiet(gateway: Gateway) -> None:
    """Until one idle worker is left."""
    await until(lambda: len(pids(gateway)) == 1)
    assert (await told(gateway, "x"))[0] == 200


def _descriptors() -> int:
    return psutil.Process().num_fds()


def _another(gateway: Gateway, before: list[int]) -> bool:
    """Whether somebody took the place of one of those before."""
    return len(pids(gateway)) == len(before) and set(pids(gateway)) != set(before)
