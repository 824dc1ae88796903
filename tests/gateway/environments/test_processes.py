"""Proves that gateways of one machine share environments, and that a killed one leaves none half-built."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from gateway.environments.layout import load_manifest
from tests.support import build_process
from tests.support.mlflow_server import environment
from tests.support.waiting import until

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator

    from tests.gateway.environments.conftest import Harness

REQUIREMENTS = "learner==1.5.2\n"


@asynccontextmanager
async def builder(harness: Harness) -> AsyncIterator[Process]:
    """Start another process that leases the version's environment; it has opened the folder already."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", build_process.__name__),
        stdin=PIPE,
        stdout=PIPE,
        env=environment({"PYTHONPATH": str(Path(__file__).parents[3])}),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    request = {
        "settings": harness.variables(),
        "requirements": REQUIREMENTS,
        "folder": str(harness.source.folder_path),
    }
    try:
        process.stdin.write(json.dumps(request).encode() + b"\n")
        assert await process.stdout.readline() == b"open\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def leased(process: Process) -> tuple[str, int]:
    """Return the digest of what the process leases, and how many environments it has built."""
    assert process.stdout is not None
    digest, builds = json.loads(await process.stdout.readline())
    return digest, builds


def uv_processes(harness: Harness) -> list[int]:
    """Return the processes that build below the harness' folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(str(harness.folder) in word for word in words) and any(word.endswith("/uv") for word in words):
            found.append(process.pid)
    return found


async def test_two_processes_build_once(harness: Harness) -> None:
    """The second waits for the first, and then has the same environment without a build of its own."""
    async with builder(harness) as first, builder(harness) as second:
        results = await asyncio.gather(leased(first), leased(second))
    assert results[0][0] == results[1][0]
    assert results[0][1] + results[1][1] == 1
    assert harness.built() == [results[0][0]]


@pytest.mark.slow
async def test_uv_ends_with_a_killed_gateway(harness: Harness) -> None:
    """Nothing else could end it, and it would write into a folder that the next start removes."""
    harness.index.released.clear()
    async with builder(harness) as process:
        await until(lambda: bool(uv_processes(harness)))
        process.kill()
        await until(lambda: not uv_processes(harness))
    assert harness.built() == []


@pytest.mark.slow
async def test_killed_at_any_moment_nothing_counts_that_is_not_whole(harness: Harness) -> None:
    """After each kill, what lies under a final name is complete; at the end, nothing else is left."""
    choice = random.Random(16)  # noqa: S311 - moments, no secrets
    killed = 0
    for _ in range(8):
        async with builder(harness) as process:
            await asyncio.sleep(choice.uniform(0.0, 1.5))
            killed += process.returncode is None
            os.kill(process.pid, signal.SIGKILL)
            await process.wait()
        for digest in harness.built():
            manifest = load_manifest(harness.root / "environments" / digest / "manifest.json")
            assert manifest is not None
            assert manifest.digest == digest
    assert killed == 8
    await until(lambda: not uv_processes(harness))
    async with builder(harness) as process:
        digest, _ = await leased(process)
        assert harness.built() == [digest]
        assert harness.partial() == []
