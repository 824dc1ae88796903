"""Environments whose packages attack, lie, hang or are broken: what they reach, and what the gateway says."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psutil
import pytest

import workers
from tests.support import environments
from tests.support.waiting import until
from tests.workers.conftest import NO_WALL, Files, key, load
from tests.workers.pool.calls import ADD, ended, predict
from workers.errors import EnvironmentBroken, EnvironmentStartTimeout, ModelLoadError
from workers.wall import support

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.workers.pool.calls import Opened
    from workers.worker_environment import WorkerEnvironment

    Make = Callable[..., WorkerEnvironment]

PATIENT = {"fork_timeout_seconds": 600.0}  # for the imports of a fork server on a busy machine
WALL = support.detect()
CONFINED = pytest.mark.skipif(not WALL.complete, reason=f"this kernel lacks {WALL.missing}")
ATTACKS = {
    "read a secret": "open(SECRET).read()",
    "write beside a secret": "open(SECRET + '.new', 'w')",
    "list the working folder": "os.listdir(WORKING)",
    "read the gateway's environment": "open(f'/proc/{GATEWAY}/environ').read()",
    "memory of the gateway": "open(f'/proc/{GATEWAY}/mem', 'r+b')",
    "signal the gateway": "os.kill(GATEWAY, 0)",
    "signal the keeper": "os.kill(os.getppid(), 0)",
    "descriptors of the keeper": "os.readlink(f'/proc/{os.getppid()}/fd/0')",
    "change a model": "open(MODEL + '/MLmodel', 'a')",
    "add a file to its own packages": "open(os.path.dirname(__file__) + '/more.pth', 'w')",
    "replace its interpreter": "os.unlink(os.path.join(sys.prefix, 'bin', 'python'))",
    "change the workers' code": "open(WORKERS + '/new.py', 'w')",
    "read the temporary files of others": "os.listdir(os.path.dirname(os.environ['TMPDIR']))",
    "connect to a named socket": "socket.socket(socket.AF_UNIX).connect(SOCKET)",
    "end later than the keeper": "check(libc.prctl(1, 0) or ctypes.c_int())",
}
PROGRAM = """
import ctypes, os, socket, sys
SECRET, WORKING, GATEWAY, MODEL, WORKERS, SOCKET = ARGUMENTS
libc = ctypes.CDLL(None, use_errno=True)
def check(_):
    signal = ctypes.c_int()
    libc.prctl(2, ctypes.byref(signal))
    if signal.value:
        raise PermissionError("it is " + str(signal.value))
def attempt(name, code):
    try:
        exec(code)
    except OSError as error:
        return "denied"
    return "done"
for name, code in ATTACKS.items():
    print("attack", name, attempt(name, code), file=sys.stderr, flush=True)
"""
DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print("daemon", os.getpid(), file=sys.stderr, flush=True)
        time.sleep(300)
    os._exit(0)
os.wait()
"""
LIE_ABOUT_ALL = """
import json, os
dumps, open_pidfd = json.dumps, os.pidfd_open
json.dumps = lambda message, **more: dumps(message | {"pid": VICTIM} if "pid" in message else message, **more)
os.pidfd_open = lambda pid, flags=0: open_pidfd(VICTIM)
"""
LIE_ABOUT_THE_DESCRIPTOR = """
import os
open_pidfd = os.pidfd_open
os.pidfd_open = lambda pid, flags=0: open_pidfd(VICTIM)
"""
NO_MESSAGE = """
import json
dumps = json.dumps
json.dumps = lambda message, **more: dumps({"errno": "no number"} if "pid" in message else message, **more)
"""


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A function that makes an environment whose interpreter runs a program as it starts."""

    def make_environment(program: str, **options: Any) -> WorkerEnvironment:
        files = {"start.pth": "import at_start", "at_start.py": program}
        return environments.make(tmp_path / "hostile", files=files, **options)

    return make_environment


@pytest.fixture
def names(tmp_path: Path, folders: dict[str, Path]) -> Iterator[tuple[Any, ...]]:
    """What the attacks are after: the values of PROGRAM's names."""
    secret = tmp_path / ".env"
    secret.write_text("PASSWORD=s3cr3t")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "s"))
        listener.listen()
        (package,) = workers.__path__
        yield (
            str(secret),
            str(tmp_path),
            os.getpid(),
            str(folders["sums"]),
            package,
            str(tmp_path / "s"),
        )


async def fail_to_load(opened: Opened, environment: WorkerEnvironment, folder: Path, **options: Any) -> Any:
    """Return the error of a load in an environment, when its fork server has ended."""
    options = {"wall": environments.wall(folder), "environment_idle_seconds": 0.0, **PATIENT, **options}
    async with opened(**options) as pool:
        with pytest.raises(ModelLoadError) as caught:
            await load(pool, Files(key("sums"), folder, environment=environment))
        await until(lambda: not pool.environments)
        return caught.value


def lines(caplog: pytest.LogCaptureFixture, first: str) -> list[str]:
    """Return what hostile packages wrote, of the lines that begin with a word, without that."""
    written = [record for record in caplog.records if getattr(record, "event", "") == "environment_output"]
    assert all(getattr(record, "environment", "") == "hostile" for record in written)
    texts = (record.getMessage() for record in written)
    return [text.removeprefix(first + " ") for text in texts if text.startswith(first + " ")]


@CONFINED
async def test_packages_reach_nothing_as_the_interpreter_starts(
    opened: Opened, make: Make, names: Any, folders: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """The kernel refuses each attack: the process was confined before."""
    caplog.set_level(logging.INFO)
    environment = make(attacking(names), packages=False)
    await fail_to_load(opened, environment, folders["sums"])
    assert lines(caplog, "attack") == [f"{name} denied" for name in ATTACKS]


@CONFINED
@pytest.mark.parametrize("private", [True, False])
async def test_packages_of_a_version_read_no_other_model(
    opened: Opened,
    make: Make,
    folders: dict[str, Path],
    caplog: pytest.LogCaptureFixture,
    *,
    private: bool,
) -> None:
    """A fork server that serves one model reads its files alone; one that serves several must read theirs."""
    caplog.set_level(logging.INFO)
    reads = {name: f"open({str(folders[name] / 'MLmodel')!r}).read()" for name in ("sums", "tens")}
    shared = make(attacking(("",) * 6, reads), packages=False)
    environment = replace(shared, private=private).for_model(str(folders["sums"]))
    wall = environments.wall(folders["sums"], folders["tens"])
    await fail_to_load(opened, environment, folders["sums"], wall=wall)
    assert lines(caplog, "attack") == ["sums done", "tens denied" if private else "tens done"]


async def test_without_the_wall_they_reach_all(
    opened: Opened, make: Make, names: Any, folders: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """So that the test above tests something."""
    caplog.set_level(logging.INFO)
    some = (
        "read a secret",
        "signal the gateway",
        "add a file to its own packages",
        "connect to a named socket",
    )
    chosen = {name: ATTACKS[name] for name in some}
    environment = make(attacking(names, chosen), packages=False)
    await fail_to_load(opened, environment, folders["sums"], wall=NO_WALL)
    assert lines(caplog, "attack") == [f"{name} done" for name in chosen]


async def test_daemons_of_packages_end_with_the_server(
    opened: Opened, make: Make, folders: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """Though they have left its session, and their parents have ended."""
    caplog.set_level(logging.INFO)
    await fail_to_load(opened, make(DAEMON, packages=False), folders["sums"])
    (pid,) = map(int, lines(caplog, "daemon"))
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="no other system ends processes with their parents")
async def test_all_ends_with_a_gateway_that_is_killed(make: Make, folders: dict[str, Path]) -> None:
    """The keeper notices, and ends the server, the workers and the daemons of packages."""
    environment = make(DAEMON)
    command = [sys.executable, "-m", "tests.support.programs.environment_pool", str(folders["sums"])]
    with subprocess.Popen([*command, environment.python], stdout=subprocess.PIPE) as gateway:  # noqa: ASYNC220 - a test may block
        assert gateway.stdout is not None
        (keeper,) = json.loads(gateway.stdout.readline())
        below = psutil.Process(keeper).children(recursive=True)
        gateway.kill()
    assert len(below) >= 3
    for process in (psutil.Process(keeper), *below) if psutil.pid_exists(keeper) else below:
        await ended(process.pid)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux has descriptors of processes")
@pytest.mark.parametrize(
    "lie", [LIE_ABOUT_ALL, LIE_ABOUT_THE_DESCRIPTOR, NO_MESSAGE], ids=["all", "pidfd", "none"]
)
async def test_a_server_that_lies_about_its_processes(
    opened: Opened, make: Make, folders: dict[str, Path], lie: str
) -> None:
    """The load fails, and the gateway ends no process that the server did not start."""
    with subprocess.Popen(["sleep", "300"], start_new_session=True) as victim:  # noqa: ASYNC220 - a test may block
        try:
            error = await fail_to_load(opened, make(lie.replace("VICTIM", str(victim.pid))), folders["sums"])
            assert not isinstance(error, EnvironmentBroken)
            assert victim.poll() is None
        finally:
            victim.send_signal(signal.SIGKILL)
            victim.wait()


async def test_an_environment_without_what_workers_need(
    opened: Opened, tmp_path: Path, folders: dict[str, Path]
) -> None:
    """The error names the package, and the callback gets the environment that is broken."""
    broken: list[EnvironmentBroken] = []
    environment = environments.make(tmp_path / "empty", packages=False)
    error = await fail_to_load(opened, environment, folders["sums"], on_environment_broken=broken.append)
    assert isinstance(error, EnvironmentBroken)
    assert (str(error), error.digest, error.package) == (
        "The model's Python environment cannot import mlflow.",
        "empty",
        "mlflow",
    )
    assert [each.digest for each in broken] == ["empty"]


async def test_a_package_that_raises_as_it_is_imported(
    opened: Opened, tmp_path: Path, folders: dict[str, Path]
) -> None:
    """The package is named, and its text is for the log alone."""
    files = {"pandas.py": "raise ValueError('numpy.dtype size changed in /secret/path')"}
    environment = environments.make(tmp_path / "mixed", files=files)
    error = await fail_to_load(opened, environment, folders["sums"])
    assert str(error) == "The model's Python environment cannot import pandas."
    assert "numpy.dtype size changed" in error.log


@pytest.mark.parametrize("program", ["import os; os._exit(0)", "import ctypes; ctypes.string_at(0)"])
async def test_an_interpreter_that_ends_as_it_starts(
    opened: Opened, make: Make, folders: dict[str, Path], program: str
) -> None:
    """Its environment is broken: to start it again would not help."""
    error = await fail_to_load(opened, make(program, packages=False), folders["sums"])
    assert isinstance(error, EnvironmentBroken)
    assert str(error) == "The model's Python environment ends as it starts."


async def test_an_interpreter_that_is_not_there(
    opened: Opened, tmp_path: Path, folders: dict[str, Path]
) -> None:
    """As after an interrupted removal."""
    environment = environments.make(tmp_path / "gone", packages=False)
    (tmp_path / "gone" / "bin" / "python").unlink()
    assert isinstance(await fail_to_load(opened, environment, folders["sums"]), EnvironmentBroken)


async def test_an_interpreter_that_hangs(opened: Opened, make: Make, folders: dict[str, Path]) -> None:
    """The load fails in the time of a load, and is not remembered; other models load meanwhile."""
    environment = make("import time; time.sleep(1000)", packages=False)
    async with opened(wall=environments.wall(folders["sums"]), **PATIENT) as pool:
        pool._environments._load_seconds = lambda: 1.0
        hung = load_in_background(pool, Files(key("hung"), folders["sums"], environment=environment))
        await load(pool, Files(key("sums"), folders["sums"]))
        assert await predict(pool, "sums", ADD) == [11.0, 22.0]
        with pytest.raises(EnvironmentStartTimeout, match="took too long to start"):
            await hung
        assert pool.failures() == {}
        await until(lambda: not pool.environments)


async def test_an_interpreter_that_starts_slowly(
    opened: Opened, make: Make, folders: dict[str, Path]
) -> None:
    """Its start may take longer than a fork may."""
    environment = make("import time; time.sleep(2)")
    async with opened(
        wall=environments.wall(folders["sums"]), fork_timeout_seconds=0.5, load_seconds=600.0
    ) as pool:
        await load(pool, Files(key("sums"), folders["sums"], environment=environment))
        assert await predict(pool, "sums", ADD) == [11.0, 22.0]


def load_in_background(pool: Any, files: Files) -> Any:
    """Return a task that loads a model."""
    return asyncio.create_task(load(pool, files))


def attacking(names: Any, attacks: Mapping[str, str] = ATTACKS) -> str:
    """Return the program that tries attacks."""
    return PROGRAM.replace("ARGUMENTS", repr(names)).replace("ATTACKS", repr(dict(attacks)))
