"""A worker's temporary files are removed when it ends, however it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.support import models
from tests.support.waiting import until
from tests.workers.conftest import NO_WALL, Files, key, load
from workers.errors import ModelError, ModelLoadError
from workers.protocol.messages import Job
from workers.runtime import tempdir

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from workers.pool.pool import Pool

    Opened = Callable[..., AbstractAsyncContextManager[Pool]]

COMMANDS = key("commands")


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of this process' temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def worker_folders(parent: Path) -> list[Path]:
    """Return the workers' folders that exist."""
    return list(parent.glob("worker-*"))


async def run_command(pool: Pool, command: str) -> str:
    """Return what the model returns for one command."""
    reply = await pool.predict(COMMANDS, Job(models.body(do=[command])))
    return str(orjson.loads(bytes(reply.body))[0])


async def test_unloading_a_model_removes_them(
    opened: Opened, files: Callable[[str], Files], parent: Path
) -> None:
    """Each worker has a folder of its own, which no other user can read."""
    async with opened() as pool:
        await load(pool, files("commands"))
        file = Path(await run_command(pool, "litter"))
        assert file.parent.parent == parent
        assert file.parent.stat().st_mode & 0o777 == 0o700
        await pool.unload(COMMANDS)
        await until(lambda: worker_folders(parent) == [])


async def test_killing_a_worker_removes_them(
    opened: Opened, files: Callable[[str], Files], parent: Path
) -> None:
    """The replacement worker has another folder."""
    async with opened() as pool:
        await load(pool, files("commands"))
        before = Path(await run_command(pool, "litter"))
        os.kill(pool._slots.loaded[COMMANDS].group.pids[0], signal.SIGKILL)
        after = Path(await run_command(pool, "litter"))
        assert after.parent != before.parent
        await until(lambda: worker_folders(parent) == [after.parent])


@pytest.mark.parametrize("how", ["raise", "hang", "die"])
async def test_a_load_that_fails_removes_them(
    opened: Opened, files: Callable[[str], Files], parent: Path, how: str
) -> None:
    """The load may raise, hang, or end the process."""
    async with opened(load_seconds=2.0) as pool:
        with pytest.raises(ModelLoadError):
            await load(pool, files(how))
        await until(lambda: worker_folders(parent) == [])


async def test_a_model_is_loaded_if_no_folder_can_be_created(
    opened: Opened, files: Callable[[str], Files], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It can make no temporary file; without the wall they stay in the folder of the gateway's."""
    monkeypatch.setattr(tempdir, "new_path", lambda: str(tmp_path / "absent" / "worker"))
    async with opened() as pool:
        await load(pool, files("commands"))
        with pytest.raises(ModelError, match="PermissionError"):
            await run_command(pool, "litter")
    async with opened(wall=NO_WALL) as pool:
        await load(pool, files("commands"))
        file = Path(await run_command(pool, "litter"))
        assert str(file.parent) == tempfile.gettempdir()
        await asyncio.to_thread(file.unlink)


SWAP = """
import contextlib, os, sys
top, victim = sys.argv[1:]
print(flush=True)
while True:
    for name in map(str, range(40)):
        with contextlib.suppress(OSError):
            os.makedirs(f"{top}/{name}")
        with contextlib.suppress(OSError):
            os.rmdir(f"{top}/{name}")
            os.symlink(victim, f"{top}/{name}")
        with contextlib.suppress(OSError):
            os.unlink(f"{top}/{name}")
"""


REFILL = """
import contextlib, itertools, os, sys
print(flush=True)
for number in itertools.count():
    for folder in (sys.argv[1], sys.argv[1] + "/below"):
        with contextlib.suppress(OSError):
            os.makedirs(folder, exist_ok=True)
            os.close(os.open(f"{folder}/{number}", os.O_CREAT | os.O_WRONLY))
"""


def test_a_folder_of_any_depth_is_removed(tmp_path: Path) -> None:
    """Also deeper than Python can recurse, with folders that forbid reading, and links that lead out."""
    outside = tmp_path / "outside"
    outside.write_text("stays")
    top = tmp_path / "worker"
    top.mkdir()
    before = Path.cwd()
    os.chdir(top)
    try:
        for _ in range(1_500):
            Path("file").write_text("x")
            Path("link").symlink_to(outside)
            Path("folder").mkdir()
            os.chdir("folder")
    finally:
        os.chdir(before)
    tempdir.remove(str(top))
    assert not top.exists()
    assert outside.read_text() == "stays"


def test_a_folder_that_becomes_a_link_leads_nowhere(tmp_path: Path) -> None:
    """A process that still runs may put a link in its place between two steps: nothing behind it changes."""
    victim, top = tmp_path / "victim", tmp_path / "worker"
    victim.mkdir(mode=0o750)
    (victim / "file").write_text("stays")
    top.mkdir()
    (top / "swapped").symlink_to(victim)
    descriptor = os.open(top, os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="swapped"):
            tempdir._remove_folder("swapped", descriptor)
        assert tempdir._remove_entry("swapped", descriptor)
    finally:
        os.close(descriptor)
    assert list(top.iterdir()) == []
    assert (victim / "file").read_text() == "stays"
    assert victim.stat().st_mode & 0o777 == 0o750


def test_folders_are_removed_while_a_process_swaps_them_for_links(tmp_path: Path) -> None:
    """Whatever it wins of that race, what the links lead to stays."""
    victim, top = tmp_path / "victim", tmp_path / "worker"
    victim.mkdir()
    for number in range(50):
        (victim / str(number)).write_text("stays")
    top.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", SWAP, str(top), str(victim)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(100):
            tempdir.remove(str(top))
        process.kill()
    tempdir.remove(str(top))
    assert len(list(victim.iterdir())) == 50


def test_a_process_that_refills_a_folder_holds_up_nothing_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is put in as fast as it is removed is left, after a time; without that process it goes."""
    monkeypatch.setattr(tempdir, "_MAX_SECONDS", 0.5)
    top = tmp_path / "worker"
    (top / "below").mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", REFILL, str(top)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        tempdir.remove(str(top))
        process.kill()
    tempdir.remove(str(top))
    assert not top.exists()


def test_a_folder_of_many_files_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it has more than are looked at in one go."""
    monkeypatch.setattr(tempdir, "_MAX_ENTRIES", 10)
    top = tmp_path / "worker"
    for name in ("one", "two"):
        (top / name).mkdir(parents=True)
        for number in range(35):
            (top / name / str(number)).touch()
    tempdir.remove(str(top))
    assert not top.exists()
