"""Proves what a worker sees of the gateway's process, and what the gateway reads of a worker."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.workers.conftest import load
from tests.workers.pool.calls import command, predict

if TYPE_CHECKING:
    from tests.workers.pool.calls import Lookup, Opened


async def test_workers_draw_different_random_numbers(opened: Opened, files: Lookup) -> None:
    """Workers forked from one process do not share the state of its random generators."""
    async with opened(workers_per_model=2) as pool:
        await load(pool, files("commands"))
        draws = await asyncio.gather(
            *(predict(pool, "commands", command("draw", "sleep 0.3")) for _ in range(2))
        )
        assert draws[0] != draws[1]


@pytest.mark.slow  # a fork server of its own imports all model libraries, twice
async def test_workers_see_the_given_environment_only(folders: dict[str, Path]) -> None:
    """A variable that the pool was not given is in no worker, nor in what the kernel shows of one.

    The pool runs in a process of its own, because a process has one fork server.
    """
    root = Path(__file__).parents[3]
    script = root / "tests" / "support" / "see_environment.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(script),
        str(folders["commands"]),
        env={**os.environ, "A_SECRET": "hidden", "PYTHONPATH": str(root)},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    seen = orjson.loads(output.splitlines()[-1])
    assert seen["before"] == "hidden"
    assert seen["after"] == "hidden"
    assert "A_SECRET" not in seen["worker"]
    assert seen["worker"]["GIVEN"] == "yes"
    assert not seen["kernel_shows_it"]
    assert not seen["next_template_shows_it"]
