"""Proves how several gateway processes serve on one port, and how they start and end together."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.support.commands import descendants, still_running
from tests.support.metrics_page import wait_for_predictions
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Process, Start

# Each connection goes to either of two: the chance that 40 go to one is 1 in 500 thousand million.
MANY = 40
_OWN_SNAPSHOT = re.compile(r'^gateway_snapshot_age_seconds\{process="(\d+)"\} 0\.0$', re.MULTILINE)


def start_two(start: Start, **values: str) -> Process:
    """Start a gateway of two processes that listen."""
    gateway = start(GATEWAY_PROCESSES="2", **values)
    assert gateway.url, gateway.log()
    return gateway


async def predict(gateway: Process, command: str = "x", *, model: str = "api-commands") -> int:
    """Send a request on a new connection.

    Return the gateway process that served it, or 0 if that process has ended.
    """
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as client:
        async with client.post(
            f"{gateway.url}/model/{model}/1/invocation", json={"inputs": [{"do": command}]}
        ) as response:
            assert response.status == 200, await response.text()
            await response.read()
        try:
            async with client.get(f"{gateway.url}/metrics") as response:  # over the same connection
                page = await response.text()
        except aiohttp.ClientConnectionError:
            return 0
    return gateway.pid_of(int(_OWN_SNAPSHOT.findall(page)[0]))


async def predict_often(gateway: Process) -> Counter[int]:
    """Send many requests at once; return how many each gateway process served."""
    return Counter(await asyncio.gather(*(predict(gateway) for _ in range(MANY))))


async def probe_often(gateway: Process) -> None:
    """Open many connections at once; the liveness probe must succeed on each."""

    async def probe() -> int:
        async with aiohttp.ClientSession() as client, client.get(f"{gateway.url}/health/live") as response:
            return response.status

    assert await asyncio.gather(*(probe() for _ in range(MANY))) == [200] * MANY


@pytest.mark.slow
async def test_both_serve_and_both_drain(start: Start, tmp_path: Path) -> None:
    """Connections reach both processes, and log records name the process.

    After SIGTERM requests in flight are answered, the port is closed, and no process is left.
    """
    gateway = start_two(start, preload="lean", GATEWAY_DRAIN_SECONDS="1000")
    assert set(await predict_often(gateway)) == gateway.gateway_pids()
    assert {record["process"] for record in gateway.events("listening")} == {1, 2}
    (record,) = gateway.events("all_processes_listening")
    assert record["address"] == gateway.url
    assert "process" not in record
    below = descendants(gateway.pid)
    release = tmp_path / "release"
    running = [asyncio.create_task(predict(gateway, f"wait_for {release}")) for _ in range(8)]
    await wait_for_predictions(gateway.url, 8)
    gateway.send(signal.SIGTERM)
    await gateway.wait_for("shutdown_started")
    await gateway.wait_for("shutdown_draining", times=2)
    await gateway.wait_until_closed()
    release.touch()
    await asyncio.gather(*running)
    assert await gateway.exit_status() == 0
    assert await asyncio.to_thread(still_running, below) == set()


@pytest.mark.slow
async def test_a_killed_process_is_replaced(start: Start) -> None:
    """It is replaced at once and under load; only the requests that it had are lost."""
    gateway = start_two(start, preload="lean")
    await predict_often(gateway)
    victim, other = sorted(gateway.gateway_pids())
    dead = asyncio.Event()

    async def load() -> set[int]:
        """Send requests; return the processes that served ten of those sent after the kill."""
        after: list[int] = []
        while len(after) < 10:
            sent_after = dead.is_set()
            try:
                pid = await predict(gateway)
            except aiohttp.ClientConnectionError:
                assert not sent_after  # it was in flight, or its connection was accepted and not read
            else:
                after += [pid] if sent_after else []
        return set(after)

    clients = [asyncio.create_task(load()) for _ in range(8)]
    await asyncio.sleep(0.2)  # of load
    os.kill(victim, signal.SIGKILL)
    assert await asyncio.to_thread(still_running, {victim}) == set()
    dead.set()
    served = set().union(*await asyncio.gather(*clients))
    (record,) = gateway.events("process_exited")
    assert (record["pid"], record["reason"], record["level"]) == (victim, "SIGKILL", "error")
    assert record["delay_seconds"] == 0
    (new,) = gateway.gateway_pids() - {other}
    assert served == {new, other}
    gateway.send(signal.SIGTERM)
    assert await gateway.exit_status() == 0


@pytest.mark.slow
async def test_a_process_that_exits_again_and_again(start: Start, tmp_path: Path) -> None:
    """It is restarted at growing intervals, during which it gets no connections, until it can serve again.

    If no process can serve, all end with its status.
    """
    cache, away = tmp_path / "cache", tmp_path / "away"
    gateway = start_two(start, GATEWAY_CACHE_DIR=str(cache))
    first, second = sorted(gateway.gateway_pids())

    def pauses() -> int:
        """Return how often a restart was delayed for so long that the listeners were closed."""
        return sum(record["delay_seconds"] == 1.0 for record in gateway.events("process_exited"))

    async def fail(pid: int, *, listening: int) -> None:
        """Make replacements fail and kill the process; wait for a long pause: the other one serves all."""
        cache.rename(away)
        cache.write_bytes(b"")
        os.kill(pid, signal.SIGKILL)
        await until(lambda: pauses() >= listening - 1, interval=0.02)
        await probe_often(gateway)
        assert len(gateway.events("listening")) == listening

    await fail(first, listening=2)
    cache.unlink()
    away.rename(cache)
    await gateway.wait_for("listening", times=3)
    (replacement,) = gateway.gateway_pids() - {second}
    await fail(second, listening=3)
    os.kill(replacement, signal.SIGKILL)
    assert await gateway.exit_status() == 2
    reasons = Counter(record["reason"] for record in gateway.events("process_exited"))
    assert reasons["SIGKILL"] == 3
    assert reasons["status 2"] >= 4


@pytest.mark.slow
async def test_ctrl_c_counts_once_and_the_second_one_ends_at_once(start: Start, tmp_path: Path) -> None:
    """SIGINT to the process group counts once: requests in flight are answered; the next one aborts."""
    gateway = start_two(start, preload="lean", GATEWAY_DRAIN_SECONDS="1000")
    await predict_often(gateway)
    below = descendants(gateway.pid)
    release = tmp_path / "release"
    short = [asyncio.create_task(predict(gateway, f"wait_for {release}")) for _ in range(3)]
    long = asyncio.create_task(predict(gateway, "sleep 1000", model="api-streams"))  # in a worker of its own
    await wait_for_predictions(gateway.url, 3)
    await wait_for_predictions(gateway.url, 1, model="api-streams")
    gateway.send_to_group(signal.SIGINT)
    await gateway.wait_for("shutdown_draining", times=2)
    release.touch()
    await asyncio.gather(*short)
    gateway.send_to_group(signal.SIGINT)
    assert await gateway.exit_status() == 1
    assert await asyncio.to_thread(still_running, below) == set()
    await asyncio.gather(long, return_exceptions=True)


@pytest.mark.slow
async def test_nothing_outlives_a_killed_supervisor(start: Start, tmp_path: Path) -> None:
    """The kernel signals its gateway processes; they answer what is in flight, and end with their workers."""
    gateway = start_two(start, preload="lean", GATEWAY_DRAIN_SECONDS="1000")
    await predict_often(gateway)
    below = descendants(gateway.pid)
    release = tmp_path / "release"
    running = [asyncio.create_task(predict(gateway, f"wait_for {release}")) for _ in range(2)]
    await wait_for_predictions(gateway.url, 2)
    gateway.send(signal.SIGKILL)
    await gateway.wait_for("shutdown_draining", times=2)
    release.touch()
    await asyncio.gather(*running)
    assert await asyncio.to_thread(still_running, below) == set()
    assert await gateway.exit_status() == -signal.SIGKILL


async def test_a_port_in_use(start: Start) -> None:
    """A port of another gateway, which the kernel would let this one share: it exits with status 1."""
    port = start_two(start).url.rpartition(":")[2]
    second = start(GATEWAY_PROCESSES="2", GATEWAY_PORT=port)
    assert await second.exit_status() == 1
    (record,) = second.events("listen_failed")
    assert port in record["message"]
    assert "in use" in record["message"]


async def test_a_process_that_cannot_start_ends_all(start: Start, tmp_path: Path) -> None:
    """A cache folder that cannot be used will not work at the next try either: status 2, no restart."""
    (tmp_path / "file").write_bytes(b"")
    gateway = start(GATEWAY_PROCESSES="2", GATEWAY_CACHE_DIR=str(tmp_path / "file"))
    assert await gateway.exit_status() == 2
    assert 1 <= len(gateway.events("start_failed")) <= 3
    assert not gateway.events("process_exited")
    assert await asyncio.to_thread(gateway.left) == []


async def test_one_process_has_no_supervisor(start: Start) -> None:
    """The process that was started serves itself, and its log records have no process number."""
    gateway = start()
    assert all("process" not in record for record in gateway.records())
    programs = [(Path("/proc") / str(pid) / "cmdline").read_text() for pid in gateway.child_pids()]
    assert not any("serve.py" in program for program in programs)
    gateway.send(signal.SIGTERM)
    assert await gateway.exit_status() == 0


@pytest.mark.slow
async def test_sigterm_to_one_process(start: Start, tmp_path: Path) -> None:
    """While it answers its requests, and until it is replaced, all connections reach the other process.

    Afterwards they reach both.
    """
    gateway = start_two(start, preload="lean", GATEWAY_DRAIN_SECONDS="1000")
    await predict_often(gateway)
    first, second = sorted(gateway.gateway_pids())
    release = tmp_path / "release"
    running = [asyncio.create_task(predict(gateway, f"wait_for {release}")) for _ in range(20)]
    await wait_for_predictions(gateway.url, 20)
    os.kill(first, signal.SIGTERM)
    await gateway.wait_for("shutdown_draining")
    await asyncio.sleep(1.5)  # no event tells when its listener is closed
    for _ in range(2):
        await probe_often(gateway)
    assert gateway.gateway_pids() == {first, second}
    assert not gateway.events("process_exited")
    release.touch()
    await asyncio.gather(*running)
    await gateway.wait_for("listening", times=3)
    (new,) = gateway.gateway_pids() - {second}
    assert new != first
    assert set(await predict_often(gateway)) == {new, second}
    (record,) = gateway.events("process_exited")
    assert (record["pid"], record["reason"]) == (first, "status 0")
    gateway.send(signal.SIGTERM)
    assert await gateway.exit_status() == 0


@pytest.mark.parametrize("processes", [pytest.param(1, marks=pytest.mark.slow), 2])
async def test_sighup_before_the_event_loop_runs(start: Start, processes: int) -> None:
    """It ends no process: each reads the settings again once its event loop runs."""
    gateway = start(program="hangs_up_early", GATEWAY_PROCESSES=str(processes))
    assert gateway.url, gateway.log()
    expected = {1, 2, 3} if processes == 2 else {None}
    records = await gateway.wait_for("settings_reloaded", times=len(expected))
    assert {record.get("process") for record in records} == expected
    await probe_often(gateway)
    gateway.send(signal.SIGTERM)
    assert await gateway.exit_status() == 0
