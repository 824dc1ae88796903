"""Proves how several gateway processes serve on one port, and how they begin and end together."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.support.commands import descendants, left, parent

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.end_to_end.conftest import Process

PATH = "/model/api-commands/1/invocation"
PATIENCE_SECONDS = 20.0
# Each connection goes to either of two: the chance that 40 go to one is 1 in 500 thousand million.
MANY = 40


def two(start: Callable[..., Process], **values: str) -> Process:
    """A gateway of two processes that listen."""
    gateway = start(GATEWAY_PROCESSES="2", **values)
    assert gateway.url, gateway.log()
    return gateway


def replicas(gateway: Process) -> set[int]:
    """The gateway's processes, without those below them."""
    return {pid for pid in descendants(gateway.pid) if parent(pid) == gateway.pid}


def lines(gateway: Process, text: str) -> list[dict[str, Any]]:
    """What the log says with `text` in it."""
    told = [json.loads(line) for line in gateway.log() if line.startswith("{")]
    return [line for line in told if text in line["message"]]


async def until_said(gateway: Process, text: str, *, times: int = 1) -> None:
    """Wait for the log to have `text` so often."""

    def wait() -> None:
        ends = time.monotonic() + PATIENCE_SECONDS
        while len(lines(gateway, text)) < times and time.monotonic() < ends:
            time.sleep(0.02)

    await asyncio.to_thread(wait)
    assert len(lines(gateway, text)) >= times, gateway.log()


async def ask(gateway: Process, command: str = "x") -> int:
    """Ask on a connection of its own; the gateway process whose worker answered, 0 where that is gone."""
    async with (
        aiohttp.ClientSession() as client,
        client.post(gateway.url + PATH, json={"inputs": [{"do": command}]}) as answer,
    ):
        assert answer.status == 200, await answer.text()
        pid: int = (await answer.json())["predictions"][0]
    while (above := parent(pid)) not in {gateway.pid, None}:
        pid = above or 0
    return pid if above else 0


async def ask_often(gateway: Process, command: str = "x") -> Counter[int]:
    """Who answered to many connections at once."""
    return Counter(await asyncio.gather(*(ask(gateway, command) for _ in range(MANY))))


async def live(gateway: Process) -> None:
    """Many connections at once, each of which is answered."""

    async def one() -> int:
        async with aiohttp.ClientSession() as client, client.get(f"{gateway.url}/health/live") as answer:
            return answer.status

    assert await asyncio.gather(*(one() for _ in range(MANY))) == [200] * MANY


async def status_of(gateway: Process) -> int:
    return await asyncio.to_thread(gateway.status)


async def test_both_answer_and_both_drain(start: Callable[..., Process]) -> None:
    """Connections reach each of them, and its log lines say which it is; after SIGTERM requests in flight
    are answered, nobody listens, and no process is left.
    """
    gateway = two(start)
    assert set(await ask_often(gateway)) == replicas(gateway)
    assert {line["process"] for line in lines(gateway, "Listening on")} == {1, 2}
    (said,) = lines(gateway, "2 processes listen on")
    assert said["message"].endswith(gateway.url)
    assert "process" not in said
    below = descendants(gateway.pid)
    running = [asyncio.create_task(ask(gateway, "sleep 0.1")) for _ in range(8)]
    await asyncio.sleep(0.1)
    gateway.send(signal.SIGTERM)
    await until_said(gateway, "Shutting down", times=3)
    with pytest.raises(aiohttp.ClientConnectionError):
        await ask(gateway)
    await asyncio.gather(*running)
    assert await status_of(gateway) == 0
    assert await asyncio.to_thread(left, below, within=5) == set()


async def test_one_that_is_killed_is_replaced(start: Callable[..., Process]) -> None:
    """At once, and under load: only what it was answering is lost."""
    gateway = two(start)
    await ask_often(gateway)
    victim, other = sorted(replicas(gateway))
    dead = asyncio.Event()

    async def load() -> set[int]:
        """Ask until long after the death; who has answered what was begun after it."""
        after: list[int] = []
        while len(after) < 10:
            begun_after = dead.is_set()
            try:
                who = await ask(gateway)
            except aiohttp.ClientConnectionError:
                assert not begun_after  # it was in flight, or had been taken and not been read
            else:
                after += [who] if begun_after else []
        return set(after)

    clients = [asyncio.create_task(load()) for _ in range(8)]
    await asyncio.sleep(0.2)
    os.kill(victim, signal.SIGKILL)
    assert left({victim}) == set()
    dead.set()
    answered = set().union(*await asyncio.gather(*clients))
    (line,) = lines(gateway, "; restarting at once")
    assert (line["pid"], line["reason"], line["level"]) == (victim, "SIGKILL", "error")
    (new,) = replicas(gateway) - {other}
    assert answered == {new, other}
    gateway.send(signal.SIGTERM)
    assert await status_of(gateway) == 0


async def test_one_that_dies_again_and_again(start: Callable[..., Process], tmp_path: Path) -> None:
    """It is tried at growing intervals, in which nobody is sent there, and is back when it can be; where
    none can serve, all end with its status.
    """
    cache, away = tmp_path / "cache", tmp_path / "away"
    gateway = two(start, GATEWAY_CACHE_DIR=str(cache))
    first, second = sorted(replicas(gateway))

    async def fails(pid: int, *, listening: int) -> None:
        """Its replacements cannot begin, until the pause is long; then the other answers to everybody."""
        cache.rename(away)
        cache.write_bytes(b"")
        os.kill(pid, signal.SIGKILL)
        await until_said(gateway, "; restarting in 1 s", times=listening - 1)
        await live(gateway)
        assert len(lines(gateway, "Listening on")) == listening

    await fails(first, listening=2)
    cache.unlink()
    away.rename(cache)
    await until_said(gateway, "Listening on", times=3)
    (back,) = replicas(gateway) - {second}
    await fails(second, listening=3)
    os.kill(back, signal.SIGKILL)
    assert await status_of(gateway) == 2
    reasons = Counter(line["reason"] for line in lines(gateway, "; restarting"))
    assert reasons["SIGKILL"] == 3
    assert reasons["status 2"] >= 4


async def test_ctrl_c_counts_once_and_the_second_time_ends_at_once(start: Callable[..., Process]) -> None:
    """A terminal's signal reaches the supervisor alone: requests are answered until it comes again."""
    gateway = two(start)
    await ask_often(gateway, "sleep 0.06")  # so slow that no batch has two
    below = descendants(gateway.pid)
    short = [asyncio.create_task(ask(gateway, "sleep 1")) for _ in range(3)]
    await asyncio.sleep(0.5)  # they are there before the long one, behind which nobody is answered
    long = asyncio.create_task(ask(gateway, "sleep 50"))
    await asyncio.sleep(0.1)
    gateway.send_to_group(signal.SIGINT)
    await asyncio.gather(*short)
    began = time.monotonic()
    gateway.send_to_group(signal.SIGINT)
    assert await status_of(gateway) == 1
    assert time.monotonic() - began < 8
    assert await asyncio.to_thread(left, below, within=5) == set()
    await asyncio.gather(long, return_exceptions=True)


async def test_nothing_outlives_a_killed_supervisor(start: Callable[..., Process]) -> None:
    """The processes are told by the kernel, answer what they were asked, and end with all their workers."""
    gateway = two(start)
    await ask_often(gateway)
    below = descendants(gateway.pid)
    running = [asyncio.create_task(ask(gateway, "sleep 0.3")) for _ in range(2)]
    await asyncio.sleep(0.1)
    gateway.send(signal.SIGKILL)
    await asyncio.gather(*running)
    assert await asyncio.to_thread(left, below, within=2) == set()
    assert await status_of(gateway) == -signal.SIGKILL


async def test_a_port_in_use(start: Callable[..., Process]) -> None:
    """Another gateway's, which the kernel would let this one share: status 1 and a line that says it."""
    port = two(start).url.rpartition(":")[2]
    second = start(GATEWAY_PROCESSES="2", GATEWAY_PORT=port)
    assert await status_of(second) == 1
    (line,) = lines(second, "Cannot listen")
    assert port in line["message"]
    assert "in use" in line["message"]


async def test_one_that_cannot_begin_ends_all(start: Callable[..., Process], tmp_path: Path) -> None:
    """A cache folder that cannot be used is no better at the next try: status 2."""
    (tmp_path / "file").write_bytes(b"")
    gateway = start(GATEWAY_PROCESSES="2", GATEWAY_CACHE_DIR=str(tmp_path / "file"))
    assert await status_of(gateway) == 2
    assert 1 <= len(lines(gateway, "Cannot start")) <= 2
    assert not lines(gateway, "; restarting")
    assert gateway.left() == []


async def test_one_process_has_no_supervisor(start: Callable[..., Process]) -> None:
    """The process that was started serves itself, and its log names no number."""
    gateway = start()
    assert all("process" not in line for line in lines(gateway, ""))
    programs = [(Path("/proc") / str(pid) / "cmdline").read_text() for pid in replicas(gateway)]
    assert not any("serve.py" in program for program in programs)
    gateway.send(signal.SIGTERM)
    assert await status_of(gateway) == 0


async def test_one_that_is_told_to_end_alone(start: Callable[..., Process]) -> None:
    """While it answers what it has, and until another is in its place, all connections reach the others;
    afterwards they reach both.
    """
    gateway = two(start, GATEWAY_DRAIN_SECONDS="60")
    await ask_often(gateway)
    first, second = sorted(replicas(gateway))
    running = [asyncio.create_task(ask(gateway, "sleep 2")) for _ in range(20)]
    await asyncio.sleep(0.5)
    os.kill(first, signal.SIGTERM)
    await until_said(gateway, "no new connections")
    await asyncio.sleep(1.5)  # by then its listener was hushed, and set aside
    for _ in range(2):
        await live(gateway)
    assert replicas(gateway) == {first, second}
    assert not lines(gateway, "; restarting")
    await asyncio.gather(*running)
    await until_said(gateway, "Listening on", times=3)
    (new,) = replicas(gateway) - {second}
    assert new != first
    assert set(await ask_often(gateway)) == {new, second}
    (line,) = lines(gateway, "; restarting")
    assert (line["pid"], line["reason"]) == (first, "status 0")
    gateway.send(signal.SIGTERM)
    assert await status_of(gateway) == 0


@pytest.mark.parametrize("processes", [1, 2])
async def test_hung_up_before_the_loop_runs(start: Callable[..., Process], processes: int) -> None:
    """The settings are read again once it does; nobody is killed, and nobody misses it."""
    gateway = start(program="hangs_up_early", GATEWAY_PROCESSES=str(processes))
    assert gateway.url, gateway.log()
    await until_said(gateway, "Settings reloaded", times=processes)
    who = {line.get("process") for line in lines(gateway, "Settings reloaded")}
    assert who == ({1, 2} if processes == 2 else {None})
    await live(gateway)
    gateway.send(signal.SIGTERM)
    assert await status_of(gateway) == 0
