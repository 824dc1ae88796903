"""Proves that several gateway processes share the models of one more, also when that one fails."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.end_to_end.test_processes import predict_often, start_two
from tests.support.commands import descendants, still_running
from tests.support.waiting import poll, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.end_to_end.conftest import Process, Start

CLIENTS = 8


class Load:
    """Clients that ask for predictions one after the other, each request over a new connection."""

    def __init__(self, gateway: Process) -> None:
        self._url = f"{gateway.url}/model/api-commands/1/invocation"
        self._ends = asyncio.Event()
        self.statuses: Counter[int] = Counter()

    async def run(self) -> None:
        """Ask until the end."""
        timeout = aiohttp.ClientTimeout(total=120)
        async with aiohttp.ClientSession(timeout=timeout) as client:
            while not self._ends.is_set():
                async with client.post(self._url, json={"inputs": [{"do": "x"}]}) as response:
                    await response.read()
                    self.statuses[response.status] += 1

    async def more(self, count: int) -> None:
        """Wait until as many further requests were answered."""
        wanted = self.statuses.total() + count
        await until(lambda: self.statuses.total() >= wanted)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Ask meanwhile; at the end every request is answered."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self.run())
            try:
                yield
            finally:
                self._ends.set()


async def ask(gateway: Process, method: str, path: str, **options: Any) -> tuple[int, Any]:
    """Send a request over a new connection; return the status and the answer."""
    async with (
        aiohttp.ClientSession() as client,
        client.request(method, f"{gateway.url}{path}", **options) as response,
    ):
        return response.status, await response.json(content_type=None)


async def ready_everywhere(gateway: Process) -> bool:
    """Return whether many new connections, which lead to both processes, find the gateway ready."""
    found = await asyncio.gather(*(ask(gateway, "GET", "/health/ready") for _ in range(40)))
    return {status for status, _ in found} == {200}


def workers(gateway: Process) -> set[int]:
    """Return the processes below the gateway's own: fork servers and workers."""
    return descendants(gateway.pid) - gateway.child_pids()


@pytest.mark.slow
async def test_no_request_fails_when_the_node_process_is_killed(start: Start) -> None:
    """Requests in flight run again, and others wait: for a new process, and for the model there."""
    gateway = start_two(start, preload="lean")
    load = Load(gateway)
    async with load.running():
        await load.more(50)
        victim = gateway.node_pid()
        below = workers(gateway)
        os.kill(victim, signal.SIGKILL)
        await gateway.wait_for("node_listening", times=2)
        await load.more(50)
    assert set(load.statuses) == {200}
    assert gateway.node_pid() != victim
    (record,) = gateway.events("process_exited")
    assert (record["pid"], record["reason"], record["delay_seconds"]) == (victim, "SIGKILL", 0)
    assert record["message"].startswith("The node process exited")
    assert await asyncio.to_thread(still_running, below) == set()
    assert len(gateway.gateway_pids()) == 2
    gateway.send(signal.SIGTERM)
    assert await gateway.exit_status() == 0


@pytest.mark.slow
async def test_a_node_process_that_hangs_is_replaced(start: Start) -> None:
    """The supervisor kills it; requests wait for the next one, and none fails."""
    gateway = start(program="hangs", preload="lean", GATEWAY_PROCESSES="2", HANG_SECONDS="8")
    load = Load(gateway)
    async with load.running():
        await load.more(20)
        victim = gateway.node_pid()
        os.kill(victim, signal.SIGSTOP)
        (hung,) = await gateway.wait_for("process_hung")
        await gateway.wait_for("node_listening", times=2)
        await load.more(20)
    assert hung["pid"] == victim
    assert set(load.statuses) == {200}
    gateway.send(signal.SIGTERM)
    assert await gateway.exit_status() == 0


@pytest.mark.slow
async def test_models_outlive_a_gateway_process(start: Start) -> None:
    """They stay warm in the same worker, which also answers for the process that replaces the dead one."""
    gateway = start_two(start, preload="lean")
    await predict_often(gateway)
    before = workers(gateway)
    os.kill(min(gateway.gateway_pids()), signal.SIGKILL)
    await gateway.wait_for("listening", times=3)
    assert set(await predict_often(gateway)) == gateway.gateway_pids()
    assert workers(gateway) == before
    assert len(gateway.events("model_loaded")) == 1
    gateway.send(signal.SIGTERM)
    assert await gateway.exit_status() == 0
    assert await asyncio.to_thread(still_running, before) == set()


@pytest.mark.slow
async def test_all_processes_say_the_same_of_a_model(start: Start) -> None:
    """State, index, unload and limits are of the machine, whichever process is asked."""
    gateway = start_two(start, preload="none", GATEWAY_MAX_LOADED_MODELS="1")

    async def states(path: str = "/model/api-sums/3") -> set[str]:
        """Return what many new connections find, which lead to both processes."""
        found = await asyncio.gather(*(ask(gateway, "GET", path) for _ in range(40)))
        return {answer["serving"]["state"] for _, answer in found}

    async def agree(state: str, path: str = "/model/api-sums/3") -> None:
        """Wait until both processes tell the same."""
        await poll(lambda: states(path), lambda found: found == {state})

    status, _ = await ask(gateway, "POST", "/v2/repository/models/api-sums/load")
    assert status == 200
    await agree("warm")
    _, answer = await ask(gateway, "GET", "/model/api-sums/3")
    assert "nodes" not in answer["serving"]
    assert len(gateway.events("model_loaded")) == 1
    _, index = await ask(gateway, "POST", "/v2/repository/index", json={"ready": True})
    assert [(model["name"], model["state"]) for model in index] == [("api-sums", "READY")]
    status, _ = await ask(gateway, "POST", "/v2/repository/models/api-commands/load")
    assert status == 200
    await agree("cold")
    await agree("warm", "/model/api-commands/1")
    status, _ = await ask(gateway, "POST", "/v2/repository/models/api-commands/unload")
    assert status == 200
    await agree("cold", "/model/api-commands/1")
    gateway.send(signal.SIGTERM)
    assert await gateway.exit_status() == 0


@pytest.mark.slow
async def test_a_pinned_model_is_loaded_once(start: Start) -> None:
    """Neither process unloads it, and it is loaded again when the process that had it has ended."""
    gateway = start_two(start, preload="none", GATEWAY_PINNED_MODELS="api-sums/1")
    await poll(lambda: ready_everywhere(gateway), lambda ready: ready)
    for _ in range(8):
        status, _ = await ask(gateway, "POST", "/v2/repository/models/api-sums/unload")
        assert status == 409
    assert len(gateway.events("model_loaded")) == 1
    os.kill(gateway.node_pid(), signal.SIGKILL)
    await gateway.wait_for("model_loaded", times=2)
    gateway.send(signal.SIGTERM)
    assert await gateway.exit_status() == 0


@pytest.mark.slow
async def test_the_node_process_ends_last(start: Start) -> None:
    """After SIGTERM it serves the gateway processes until they have ended; no process is left."""
    gateway = start_two(start, preload="lean", GATEWAY_DRAIN_SECONDS="1000")
    await predict_often(gateway)
    below, node = descendants(gateway.pid), gateway.node_pid()
    running = asyncio.create_task(
        ask(gateway, "POST", "/model/api-commands/1/invocation", json={"inputs": [{"do": "sleep 3"}]})
    )
    await asyncio.sleep(0.5)  # until it runs; a later one is answered as well
    gateway.send(signal.SIGTERM)
    status, _ = await running
    assert status == 200
    assert await gateway.exit_status() == 0
    events = [(record.get("event"), record.get("process")) for record in gateway.records()]
    drained = [number for number, event in enumerate(events) if event == ("shutdown_draining", 3)]
    others = [
        number
        for number, (name, process) in enumerate(events)
        if name == "shutdown_draining" and process != 3
    ]
    assert max(others) < drained[0]
    assert await asyncio.to_thread(still_running, below | {node}) == set()
