"""Proves that the gateway outlives its keeper in every state, knows the members and leaves no process."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shlex
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from gateway.concurrency.background import supervised_task
from gateway.engines.members import Member
from gateway.engines.ray.keeper_process import (
    KEEPER_EXITS,
    KeeperLimits,
    RayMembers,
    keeper_command,
    keeper_environment,
)
from gateway.settings import RaySettings
from tests.support.commands import still_running
from tests.support.waiting import until
from workers.metrics import Counters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PROGRAM = Path(__file__).parents[3] / "support" / "programs" / "played_keeper.py"
A, B = Member("a", "192.0.2.1:7000"), Member("b", "192.0.2.2:7000")
TOKEN = "sesame-sesame-sesame-sesame-sesame"  # noqa: S105 - of this test
SOON = KeeperLimits(silence=20.0, initial_pause=0.01, longest_pause=0.05)


class Harness:
    """A supervised played keeper, what it noted, and each change of members."""

    def __init__(self, folder: Path, *, limits: KeeperLimits = SOON, **fields: str) -> None:
        self.folder = folder
        self.counters = Counters()
        self.told: list[frozenset[Member]] = []
        settings = RaySettings.model_validate({"node_command": f"node {shlex.quote(str(folder))}", **fields})
        self.members = RayMembers(
            settings,
            token=lambda: TOKEN,
            environment={**os.environ, "GATEWAY_FLEET_TOKEN": TOKEN, "RAY_AUTH_TOKEN": "of-ray"},
            counters=self.counters,
            program=PROGRAM,
            limits=limits,
        )

    async def watch(self) -> None:
        """Note each change of the members, for ever."""
        await self.members.watch(self.told.append)

    def runs(self) -> list[dict[str, Any]]:
        """Return what each started program noted."""
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("run-*"))]

    def pids(self) -> set[int]:
        """Return all processes that were started."""
        return {run[name] for run in self.runs() for name in ("pid", "child")}

    def exits(self, reason: str) -> int:
        """Return how often the program ended for this reason."""
        return self.counters.value(KEEPER_EXITS, reason)


@asynccontextmanager
async def supervised(harness: Harness) -> AsyncIterator[Harness]:
    """Run the supervision while the context lasts; prove that no process is left after it."""
    async with supervised_task(harness.watch, name="ray members", counters=harness.counters):
        yield harness
    assert harness.pids()
    assert still_running(harness.pids()) == set()


async def test_members_that_run_are_told_and_others_are_not(tmp_path: Path) -> None:
    """An agent that is still being started is no member; nothing is counted as an exit."""
    async with supervised(Harness(tmp_path)) as harness:
        await until(lambda: bool(harness.told))
        assert harness.told == [frozenset({A, B})]
        assert harness.members.known == {A, B}
    assert harness.counters.counts.total() == 0


async def test_known_members_are_reported_to_a_second_watch(tmp_path: Path) -> None:
    """A supervisor that starts the watch again hears of them before a keeper does."""
    harness = Harness(tmp_path)
    async with supervised(harness):
        await until(lambda: bool(harness.told))
    later: list[frozenset[Member]] = []
    task = asyncio.create_task(harness.members.watch(later.append))
    await asyncio.sleep(0)
    assert later == [frozenset({A, B})]
    task.cancel()
    await asyncio.wait([task])


async def test_secrets_reach_the_program_by_standard_input_alone(tmp_path: Path) -> None:
    """Not by its arguments or variables, which processes of this user can read; Ray's own token does."""
    async with supervised(Harness(tmp_path)) as harness:
        await until(lambda: bool(harness.runs()))
    (run,) = harness.runs()
    assert run["order"].pop("token") == TOKEN
    assert TOKEN not in json.dumps(run)
    assert run["environment"]["RAY_AUTH_TOKEN"] == "of-ray"  # noqa: S105 - no secret
    assert run["environment"]["RAY_USAGE_STATS_ENABLED"] == "0"


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("dies", "exit"),
        ("hangs", "silent"),
        ("garbage", "protocol"),
        ("odd-members", "protocol"),
        ("deep", "protocol"),
        ("huge", "protocol"),
    ],
)
async def test_members_stay_until_the_next_keeper_tells(
    tmp_path: Path, behaviour: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The program ends, hangs or misbehaves: one exit is counted and logged, and the next one takes over."""
    limits = KeeperLimits(silence=2.0, initial_pause=0.3, longest_pause=0.3) if reason == "silent" else SOON
    async with supervised(Harness(tmp_path, namespace=behaviour, limits=limits)) as harness:
        await until(lambda: harness.exits(reason) == 1)
        assert harness.members.known == {A, B}
        await until(lambda: len(harness.told) == 2)
    assert harness.told == [frozenset({A, B}), frozenset({B})]
    assert len([line for line in caplog.messages if "keeper ended" in line]) == harness.exits(reason)
    assert "sesame" not in caplog.text


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_killed_program_takes_its_own_processes_along(
    tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """SIGKILL from outside: the process group is ended, and a new program is started, on either loop."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_kill_one(tmp_path))


async def _kill_one(tmp_path: Path) -> None:
    async with supervised(Harness(tmp_path)) as harness:
        await until(lambda: bool(harness.told))
        (first,) = harness.runs()
        os.kill(first["pid"], signal.SIGKILL)
        await until(lambda: len(harness.runs()) == 2)
        assert still_running({first["pid"], first["child"]}) == set()
        await until(lambda: harness.members.known == {B})
    assert harness.exits("exit") == 1


async def test_interpreter_that_cannot_run(tmp_path: Path) -> None:
    """The operator's interpreter is no program: that is counted, and tried again, without an end."""
    python = tmp_path / "python"
    python.write_text("no program")
    harness = Harness(tmp_path, python=str(python))
    async with supervised_task(harness.watch, name="ray members", counters=harness.counters):
        await until(lambda: harness.exits("start") >= 3)
    assert harness.told == []


async def test_warnings_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What an operator should change is in the gateway's log."""
    caplog.set_level(logging.WARNING)
    async with supervised(Harness(tmp_path, namespace="warns")):
        await until(lambda: "one thing to change" in caplog.text)


async def test_log_of_the_program_never_blocks_it(tmp_path: Path) -> None:
    """It writes more to standard error than a pipe holds, and goes on."""
    async with supervised(Harness(tmp_path, namespace="chatty")) as harness:
        await until(lambda: bool(harness.told))
        await asyncio.sleep(0.5)
        assert harness.exits("exit") == 0


async def test_end_before_the_start_has_finished(tmp_path: Path) -> None:
    """A gateway that stops at once leaves no process either."""
    harness = Harness(tmp_path)
    task = asyncio.create_task(harness.watch())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert still_running(harness.pids()) == set()


def test_keeper_of_another_interpreter() -> None:
    """It runs by the operator's interpreter, which does not get the paths of the gateway's Python."""
    settings = RaySettings.model_validate({"python": sys.executable})
    assert keeper_command(settings)[0] == sys.executable
    given = {"PYTHONPATH": "/opt/gateway", "PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "s", "GATEWAY_PORT": "1"}
    assert keeper_environment(given, own_python=False) == {"PATH": "/bin", "RAY_USAGE_STATS_ENABLED": "0"}
    assert keeper_environment(given, own_python=True)["PYTHONPATH"] == "/opt/gateway"
