"""A pool with a model that streams."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.support.models import body
from tests.workers.conftest import NO_WALL, key, load
from workers.protocol.messages import Job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from tests.workers.conftest import Files
    from workers.pool.pool import Pool

    OpenPool = Callable[..., AbstractAsyncContextManager[Pool]]
    FindFiles = Callable[[str], Files]

STREAMS = key("streams")


def command(*words: str) -> Job:
    return Job(body(do=list(words)))


@pytest.fixture
async def pool(opened: OpenPool, files: FindFiles) -> AsyncIterator[Pool]:
    """Yield a pool with one worker of the model that streams."""
    async with opened(request_seconds=60, wall=NO_WALL) as pool:
        await load(pool, files("streams"))
        yield pool


async def read_all(pool: Pool, *words: str) -> list[Any]:
    """Return the chunks of a stream."""
    with closing(await pool.stream(STREAMS, command(*words))) as stream:
        return [orjson.loads(chunk) async for chunk in stream]


async def predict_pid(pool: Pool) -> list[int]:
    """Return the id of the process that answers, in a list as the model does."""
    pids: list[int] = orjson.loads((await pool.predict(STREAMS, command("x"))).body)
    return pids


def worker_pids(pool: Pool) -> list[int]:
    """Return the ids of the processes that serve the model that streams."""
    return pool._slots.loaded[STREAMS].group.pids
