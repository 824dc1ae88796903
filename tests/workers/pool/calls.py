"""Jobs for the models that obey commands, and waiting for their processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import psutil

from tests.support.models import body
from tests.support.waiting import until
from tests.workers.conftest import key
from workers.protocol.messages import Job

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from tests.workers.conftest import Files
    from workers.pool.pool import Pool

    Opened = Callable[..., AbstractAsyncContextManager[Pool]]
    Lookup = Callable[[str], Files]

COMMANDS = key("commands")
SUMS = key("sums")
TENS = key("tens")
ADD = Job(body(a=[1.0, 2.0], b=[10.0, 20.0]))
"""A job for the models that add two columns: `sums` answers 11 and 22, `tens` ten times that."""


def command(*words: str) -> Job:
    """Return a job whose rows are these commands; the answer is the worker's process id."""
    return Job(body(do=list(words)))


async def predict(pool: Pool, name: str, job: Job) -> object:
    """Return the decoded answer of the model with this name."""
    reply = await pool.predict(key(name), job)
    return orjson.loads(reply.body)


async def worker_pid(pool: Pool) -> int:
    """Return the process id of a worker of `commands`."""
    answer = await predict(pool, "commands", command("x"))
    assert isinstance(answer, list)
    return int(answer[0])


async def running(pool: Pool) -> None:
    """Wait until the workers of `commands` have a request."""
    await until(lambda: pool.status(COMMANDS).running > 0)


async def ended(pid: int) -> None:
    """Wait until a process has ended."""
    await until(lambda: not _is_alive(pid))


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
