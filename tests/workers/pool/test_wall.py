"""A hostile model in a real worker: what it tries on the gateway, on others and on the machine fails."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.workers.conftest import NO_WALL, load
from tests.workers.pool.calls import ADD, command, predict, worker_pid
from workers.errors import ModelLoadError
from workers.wall import support
from workers.wall.policy import WallPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.workers.pool.calls import Lookup, Opened

WALL = support.detect()

pytestmark = pytest.mark.skipif(not WALL.complete, reason=f"this kernel lacks {WALL.missing}")

DENIED = "denied"
ATTACKS = {
    "read a secret file": "open(SECRET).read()",
    "write a file": "open(SECRET + '.new', 'w')",
    "append to a file": "open(SECRET, 'a').write('more')",
    "truncate a file": "os.truncate(SECRET, 0)",
    "remove a file": "os.unlink(SECRET)",
    "rename a file": "os.rename(SECRET, SECRET + '.old')",
    "link a file into the own folder": "os.link(SECRET, tempfile.gettempdir() + '/link')",
    "read by a link": "os.symlink(SECRET, tempfile.mktemp()); open(newest()).read()",
    "list the folder of a secret": "os.listdir(os.path.dirname(SECRET))",
    "list the temporary files of all": "os.listdir(os.path.dirname(os.environ['TMPDIR']))",
    "list shared memory": "os.listdir('/dev/shm')",
    "read another model": "os.listdir(OTHER)",
    "write another model": "open(OTHER + '/MLmodel', 'a').write('x')",
    "write the own model": "open(OWN + '/python_model.pkl', 'a').write('x')",
    "read the password file": "open('/etc/shadow').read()",
    "read the home folder": "os.listdir(os.path.expanduser('~root'))",
    "read through the root of a process": "open(f'/proc/{os.getppid()}/root' + SECRET).read()",
    "signal the gateway": "os.kill(GATEWAY, 0)",
    "signal the fork server": "os.kill(os.getppid(), 0)",
    "signal another worker": "os.kill(WORKER, 0)",
    "signal another worker's group": "os.killpg(WORKER, 0)",
    "signal all": "os.kill(-1, 0)",
    "memory of the gateway": "open(f'/proc/{GATEWAY}/mem', 'rb')",
    "memory of the fork server": "open(f'/proc/{os.getppid()}/mem', 'r+b')",
    "memory of another worker": "open(f'/proc/{WORKER}/mem', 'r+b')",
    "environment of the gateway": "open(f'/proc/{GATEWAY}/environ').read()",
    "descriptors of the gateway": "os.readlink(f'/proc/{GATEWAY}/fd/0')",
    "descriptors of another worker": "os.open(f'/proc/{WORKER}/fd/1', os.O_WRONLY)",
    "maps of the gateway": "open(f'/proc/{GATEWAY}/maps').read()",
    "take a descriptor of another worker": "call(libc.syscall(438, os.pidfd_open(WORKER), 3, 0))",
    "trace another worker": "call(libc.ptrace(16, WORKER, 0, 0))",
    "read memory by a call": "call(libc.process_vm_readv(WORKER, vector, 1, vector, 1, 0))",
    "connect to a named socket": "socket.socket(socket.AF_UNIX).connect(SOCKET)",
    "listen on a named socket": "socket.socket(socket.AF_UNIX).bind(tempfile.gettempdir() + '/s.sock')",
    "a raw socket": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "a new user namespace": "call(libc.unshare(0x10000000))",
    "mount": "call(libc.mount(b'none', b'/tmp', b'tmpfs', 0, None))",
    "load a program into the kernel": "call(libc.syscall(321, 0, None, 0))",
    "adopt the gateway's orphans": "call(libc.prctl(36, 1, 0, 0, 0))",
    "be spared when memory runs out": "open('/proc/self/oom_score_adj', 'w').write('-500')",
    "limits of the gateway": "resource.prlimit(GATEWAY, resource.RLIMIT_NOFILE, (0, 0))",
}
PROGRAM = """
import ctypes, os, resource, socket, tempfile
SECRET, OTHER, OWN, SOCKET, GATEWAY, WORKER = ARGUMENTS
libc = ctypes.CDLL(None, use_errno=True)
vector = ctypes.byref((ctypes.c_uint64 * 2)(0, 8))
def newest():
    return tempfile.gettempdir() + '/' + os.listdir(tempfile.gettempdir())[0]
def call(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
try:
    ATTACK
    print("done")
except OSError as error:
    print("denied", error)
"""


class Surroundings:
    """What an attack is after: the values of PROGRAM's names."""

    def __init__(self, folder: Path, folders: dict[str, Path], listener: str) -> None:
        self.folder = folder
        self.secret = folder / ".env"
        self.secret.write_text("PASSWORD=s3cr3t")
        self.folders = folders
        self.listener = listener

    def program(self, attack: str, worker: int) -> str:
        """Return the program of an attack; `worker` is the process of another model."""
        names = (
            str(self.secret),
            str(self.folders["sums"]),
            str(self.folders["commands"]),
            self.listener,
            os.getpid(),
            worker,
        )
        return PROGRAM.replace("ARGUMENTS", repr(names)).replace("ATTACK", attack)


@pytest.fixture
def surroundings(tmp_path: Path, folders: dict[str, Path]) -> Iterator[Surroundings]:
    """A secret, other models, and a socket of another program that listens."""
    with socket.socket(socket.AF_UNIX) as listener:
        name = os.path.relpath(tmp_path / "s")
        listener.bind(name)
        listener.listen()
        yield Surroundings(tmp_path, folders, str(tmp_path / "s"))


async def test_a_hostile_model_reaches_nothing(
    opened: Opened, files: Lookup, surroundings: Surroundings
) -> None:
    """Each attack is refused by the kernel; everything is as before, and both models answer."""
    async with opened() as pool:
        await load(pool, files("commands"))
        await load(pool, files("sums"))
        (other,) = [
            pid for group in pool._slots.groups() for pid in group.pids if group.source.key.name == "sums"
        ]
        outcomes = {
            name: await output(pool, surroundings.program(attack, other)) for name, attack in ATTACKS.items()
        }
        succeeded = {name: text for name, text in outcomes.items() if not text.startswith(DENIED)}
        assert not succeeded
        assert surroundings.secret.read_text() == "PASSWORD=s3cr3t"
        assert await predict(pool, "sums", ADD) == [11.0, 22.0]


async def test_without_the_wall_these_attacks_succeed(
    opened: Opened, files: Lookup, surroundings: Surroundings
) -> None:
    """So that the test above tests something: a file, another process, a socket."""
    async with opened(wall=NO_WALL) as pool:
        await load(pool, files("commands"))
        other = await worker_pid(pool)
        for name in ("read a secret file", "write a file", "signal the gateway", "connect to a named socket"):
            assert await output(pool, surroundings.program(ATTACKS[name], other)) == "done\n", name


@pytest.mark.parametrize("network", ["all", "none"])
async def test_the_network_of_a_model(opened: Opened, files: Lookup, network: Any) -> None:
    """With `none` it reaches no address, loopback included, by TCP or UDP."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        tcp = f"import socket; socket.create_connection(('127.0.0.1', {port})); print('done')"
        udp = f"import socket; socket.socket(type=2).sendto(b'x', ('127.0.0.1', {port})); print('done')"
        async with opened(wall=WallPolicy("auto", network)) as pool:
            await load(pool, files("commands"))
            for text in (tcp, udp):
                assert ("done" in await output(pool, text)) == (network == "all")


async def test_readable_folders(opened: Opened, files: Lookup, tmp_path: Path) -> None:
    """A model can read what the operator lists, and not write there."""
    (tmp_path / "weights").write_text("weights")
    async with opened(wall=WallPolicy("auto", "all", (str(tmp_path),))) as pool:
        await load(pool, files("commands"))
        assert "weights" in await output(pool, f"print(open({str(tmp_path / 'weights')!r}).read())")
        assert "Permission" in await output(pool, f"open({str(tmp_path / 'more')!r}, 'w')")


async def test_a_worker_that_cannot_be_confined_loads_nothing(
    opened: Opened, files: Lookup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The load fails with a reason that names no detail; the operator's log has it."""
    broken = WallPolicy("auto", "all", ("/etc/passwd/x",))
    async with opened(wall=broken) as pool:
        with pytest.raises(ModelLoadError, match="could not be confined"):
            await load(pool, files("commands"))


async def output(pool: Any, text: str) -> str:
    """Return what a program prints in the worker of `commands`."""
    answer = await predict(pool, "commands", command("run " + text))
    assert isinstance(answer, list)
    return str(answer[0])
