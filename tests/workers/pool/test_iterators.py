"""Proves that a model's iterator ends, by its bounds or by the deadline, and what happens to its worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.workers.conftest import load
from tests.workers.pool.calls import COMMANDS, command, ended, worker_pid
from workers.errors import ModelError, PredictionTimeout

if TYPE_CHECKING:
    from tests.workers.pool.calls import Lookup, Opened


async def test_an_endless_iterator(opened: Opened, files: Lookup) -> None:
    """It is the model's error, and its worker answers the next request."""
    async with opened() as pool:
        await load(pool, files("commands"))
        pid = await worker_pid(pool)
        with pytest.raises(ModelError, match="does not end"):
            await pool.predict(COMMANDS, command("endless"))
        assert await worker_pid(pool) == pid


async def test_an_iterator_that_stalls(opened: Opened, files: Lookup) -> None:
    """The deadline ends the request, and the worker with it."""
    async with opened(request_seconds=4.0) as pool:
        await load(pool, files("commands"))
        pid = await worker_pid(pool)
        with pytest.raises(PredictionTimeout):
            await pool.predict(COMMANDS, command("stall"))
        await ended(pid)
