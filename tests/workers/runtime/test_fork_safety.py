"""Proves that a start which comes to nothing costs neither the template nor the workers there are."""

from __future__ import annotations

import os
import resource
import signal
import socket
from contextlib import closing
from multiprocessing import forkserver
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.support import models
from tests.workers.conftest import key, load
from workers.errors import ModelLoadError, SystemResourcesExhausted
from workers.process import forkserver as templates
from workers.process import worker
from workers.protocol.messages import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.workers.conftest import Files
    from workers.pool.pool import Pool

    Opened = Callable[..., AbstractAsyncContextManager[Pool]]
    Lookup = Callable[[str], Files]

SUMS, TENS = key("sums"), key("tens")


@pytest.fixture
def forks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Has each fork of a new template `fail`, or `work` again."""
    mark = tmp_path / "no-more-processes"
    monkeypatch.setenv("NO_MORE_PROCESSES", str(mark))
    monkeypatch.setattr(templates, "PRELOAD", ["tests.support.few_processes", *templates.PRELOAD])
    _end_the_template()
    yield lambda do: mark.touch() if do == "fail" else mark.unlink()
    _end_the_template()


def _end_the_template() -> None:
    pid = templates.ForkServer().pid
    if pid is not None and psutil.pid_exists(pid):
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def descriptors(pool: Pool) -> int:
    """How many the template has open."""
    return psutil.Process(pool._forkserver.pid).num_fds()


async def sums(pool: Pool) -> bytes:
    """What the model that is loaded already answers."""
    return bytes((await pool.predict(SUMS, Job(models.body(a=[1.0], b=[2.0])))).body)


async def test_a_fork_that_fails(opened: Opened, files: Lookup, forks: Callable[[str], None]) -> None:
    """The load is told that there are no means, and may be tried again at once; nobody else notices."""
    async with opened(workers_per_model=2) as pool:
        await load(pool, files("sums"))
        template, warm = pool._forkserver.pid, pool._slots.loaded[SUMS].group.pids
        before = descriptors(pool)
        forks("fail")
        for _ in range(3):
            with pytest.raises(SystemResourcesExhausted):
                await load(pool, files("tens"))
            assert pool.status(TENS).state == "cold"
        assert descriptors(pool) == before
        assert pool.spawn_health.failures
        assert await sums(pool) == b"[3.0]"
        forks("work")
        await load(pool, files("tens"))
        assert pool._forkserver.pid == template
        assert pool._slots.loaded[SUMS].group.pids == warm


async def test_a_replacement_that_cannot_be_forked(
    opened: Opened, files: Lookup, forks: Callable[[str], None]
) -> None:
    """It is tried again until there are processes, and whoever asks is answered then."""
    async with opened() as pool:
        await load(pool, files("sums"))
        forks("fail")
        os.kill(pool._slots.loaded[SUMS].group.pids[0], signal.SIGKILL)
        await pool.spawn_health.failing.wait()
        forks("work")
        assert await sums(pool) == b"[3.0]"


@pytest.mark.parametrize("sent", [b"", b"x"])
async def test_whoever_asks_for_a_fork_and_goes(opened: Opened, files: Lookup, sent: bytes) -> None:
    """A connection that ends before it has sent its descriptors is the end of nothing else."""
    async with opened() as pool:
        await load(pool, files("sums"))
        template = pool._forkserver.pid
        server: Any = forkserver._forkserver
        with closing(socket.socket(socket.AF_UNIX)) as asker:
            asker.connect(server._forkserver_address)
            asker.sendall(sent)
        await load(pool, files("tens"))
        assert pool._forkserver.pid == template
        assert await sums(pool) == b"[3.0]"


@pytest.mark.parametrize("spare", range(0, 20, 3))
async def test_a_trial_without_descriptors(opened: Opened, files: Lookup, spare: int) -> None:
    """However few are left, a start that cannot be made is the end of nothing else."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with opened() as pool:
        await load(pool, files("sums"))
        template = pool._forkserver.pid
        resource.setrlimit(resource.RLIMIT_NOFILE, (_limit(spare), hard))
        try:
            await pool.probe_spawn()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await load(pool, files("tens"))
        assert pool._forkserver.pid == template
        assert await sums(pool) == b"[3.0]"


def _limit(spare: int) -> int:
    """The limit that leaves so many descriptors that are not open yet."""
    taken = {int(name) for name in os.listdir("/proc/self/fd")}  # noqa: PTH208 - names are what is wanted
    free = [number for number in range(max(taken) + spare + 2) if number not in taken]
    return free[spare]


async def test_a_template_that_hangs_for_longer_than_a_load_may_take(
    opened: Opened, files: Lookup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is ended all the same, and the load's own time begins with the fork."""
    monkeypatch.setattr(worker, "_FORK_TIMEOUT_SECONDS", 8.0)
    async with opened(load_seconds=5.0) as pool:
        await load(pool, files("sums"))
        hung = pool._forkserver.pid
        assert hung is not None
        os.kill(hung, signal.SIGSTOP)
        try:
            await load(pool, files("tens"))
        except ModelLoadError:  # a machine so slow that the new template was not ready either
            assert pool.status(TENS).state == "failed"
        assert not psutil.pid_exists(hung)
        assert pool._forkserver.pid != hung


async def test_a_terminals_signals_are_not_for_the_template(opened: Opened, files: Lookup) -> None:
    """It is in a group of its own: a hang-up that the gateway goes by is not the end of its workers."""
    async with opened() as pool:
        await load(pool, files("sums"))
        template = pool._forkserver.pid
        assert template is not None
        assert os.getpgid(template) == template
