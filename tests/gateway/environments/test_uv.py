"""Proves that what builds environments is confined, and does not have the gateway's secrets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psutil
import pytest

from gateway.environments.uv import Uv
from gateway.system.programs import find_uv
from tests.support.waiting import until
from workers.wall import support

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "a secret of the gateway"  # noqa: S105 - the test's own
needs_landlock = pytest.mark.skipif(not support.detect().landlock_abi, reason="this kernel has no Landlock")


@pytest.fixture
def uv(tmp_path: Path) -> Uv:
    """A runner of uv; its cache and its folder exist."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "scratch").mkdir()
    program = find_uv()
    if program is None:
        pytest.skip("uv is not installed")
    given = {
        "GATEWAY_CACHE_KEY": SECRET,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }
    return Uv(
        program,
        given,
        netrc=f"machine x login y password {SECRET[2:8]}",
        wall="auto",
        cache=tmp_path / "cache",
    )


@needs_landlock
async def test_it_reads_no_other_file(uv: Uv, tmp_path: Path) -> None:
    """Not the gateway's files: only libraries, and what the caller names."""
    file, scratch = tmp_path / "secret.txt", tmp_path / "scratch"
    file.write_text(SECRET)
    denied = await uv.run_program(["/bin/cat", str(file)], scratch=scratch)
    assert (denied.status != 0, denied.stdout) == (True, "")
    allowed = await uv.run_program(["/bin/cat", str(file)], scratch=scratch, read=[str(file)])
    assert (allowed.status, allowed.stdout) == (0, SECRET)


@needs_landlock
async def test_it_writes_into_its_own_folders_alone(uv: Uv, tmp_path: Path) -> None:
    """A package that is built there can change nothing else."""
    scratch = tmp_path / "scratch"
    assert (await uv.run_program(["/bin/mkdir", str(tmp_path / "other")], scratch=scratch)).status != 0
    assert (await uv.run_program(["/bin/mkdir", str(scratch / "other")], scratch=scratch)).status == 0


async def test_its_environment_has_what_configures_indexes(uv: Uv, tmp_path: Path) -> None:
    """The proxy and the netrc file are there, and no secret of the gateway's own."""
    scratch = tmp_path / "scratch"
    output = await uv.run_program(["/usr/bin/env"], scratch=scratch)
    variables = dict(line.partition("=")[::2] for line in output.stdout.splitlines())
    assert variables["HTTPS_PROXY"] == "http://127.0.0.1:9"
    assert variables["HOME"] == str(scratch)
    assert SECRET not in output.stdout
    told = await uv.run_program(["/bin/sh", "-c", 'cat "$NETRC"'], scratch=scratch)
    assert told.stdout == f"machine x login y password {SECRET[2:8]}"


async def test_it_ends_with_all_that_it_started(uv: Uv, tmp_path: Path) -> None:
    """A cancelled caller continues when the whole process group has ended."""
    scratch = tmp_path / "scratch"
    script = f"sleep 600 & echo $! > {scratch}/new; mv {scratch}/new {scratch}/pid; wait"
    task = asyncio.create_task(uv.run_program(["/bin/sh", "-c", script], scratch=scratch))
    await until((scratch / "pid").exists)
    pid = int((scratch / "pid").read_text())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: has_ended(pid))


def has_ended(pid: int) -> bool:
    """Return whether a process runs no more, collected by its parent or not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
