"""Start the fork server of an environment: confine a process, run the environment's interpreter in it.

An environment's packages can run code as soon as its interpreter starts (`.pth` files), and when they are
imported. So the process is confined before, by code that the gateway's own interpreter runs without any
package. This process stays beside it: it ends all that is left when the gateway or the fork server ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from workers.forkserver import transport
from workers.forkserver.keeper import keep
from workers.wall import landlock, paths
from workers.wall.confine import confine
from workers.wall.policy import WallError, WallPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NOT_CONFINED: Final = 125
NO_INTERPRETER: Final = 126
"""The exit codes of a process that cannot be confined, and of one that cannot run the interpreter."""

_PACKAGE: Final = str(Path(__file__).parents[1])
_PROGRAM: Final = str(Path(__file__).parent)
_BYTECODE_SUFFIX: Final = ".bytecode"
_OOM_SCORE_ADJ: Final = "500"  # as its workers, which cannot write it themselves
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36


def run(descriptor: int) -> NoReturn:
    """Start the fork server that the other end of a socket orders, and keep it until either ends."""
    control = socket.socket(fileno=descriptor)
    body, (alive,) = transport.receive(control)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _adopt_orphans()
    keeper = os.getpid()
    pid = os.fork()
    if pid:
        control.close()
        keep(pid, alive)
    os.close(alive)
    _end_with(keeper)
    _run_interpreter(control, json.loads(body))


def _run_interpreter(control: socket.socket, order: dict[str, Any]) -> NoReturn:
    """Become the environment's interpreter, confined. Ends the process if that is not possible."""
    folder = str(Path(order["python"]).parents[1])
    bytecode = _bytecode_folder(folder)
    writable = [order["temporary"]] if bytecode is None else [order["temporary"], bytecode]
    try:
        order["rules"] = _confine(order, folder, writable)
    except (WallError, OSError) as error:
        _exit(NOT_CONFINED, error)
    setup = _to_inherit(order)
    options = ["-I"] if bytecode is None else ["-I", "-X", f"pycache_prefix={bytecode}"]
    control.set_inheritable(True)
    command = [order["python"], *options, _PROGRAM, "serve", str(control.fileno()), str(setup)]
    try:
        os.execve(order["python"], command, _variables(order, folder))  # noqa: S606 - as is meant
    except OSError as error:
        _exit(NO_INTERPRETER, error)


def _confine(order: Mapping[str, Any], folder: str, writable: Sequence[str]) -> tuple[paths.Rule, ...]:
    """Confine this process; return the rules for its workers.

    `writable` are the folder of temporary files and, if there is one, that of bytecode, which they only read.
    """
    policy = WallPolicy.from_plain(order["wall"])
    if policy.mode == "off":
        return ()
    rules = paths.rules_of_environment({folder, *_base_prefix(order["python"])}, policy.private)
    rules += tuple((path, landlock.READ) for path in (_PACKAGE, *writable[1:]))
    models = [path for path in policy.models if Path(path).exists()]
    confine(policy, read=models, write=writable, rules=rules)
    return rules


def _base_prefix(python: str) -> list[str]:
    """Return the folder of the Python that an environment was made from, found without running any of it.

    A package can replace the interpreter's link, so nothing but a Python's installation is opened.
    """
    base = Path(python).resolve().parents[1]
    if base == Path("/"):
        return []
    return [str(base)] if any(base.glob("lib*/python3.*/encodings/__init__.py")) else []


def _bytecode_folder(folder: str) -> str | None:
    """Return where the environment's bytecode is kept: without it, each start takes seconds longer.

    It is beside the environment, whose own files no process changes once it is built.
    """
    path = Path(folder + _BYTECODE_SUFFIX)
    with suppress(OSError):
        path.mkdir(mode=0o700, exist_ok=True)
    return str(path) if path.is_dir() and not path.is_symlink() and os.access(path, os.W_OK) else None


def _variables(order: Mapping[str, Any], folder: str) -> dict[str, str]:
    """Return the variables of workers as they are where the environment has been activated."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CONDA_"))}
    path = os.pathsep.join([str(Path(folder, "bin")), *filter(None, [kept.get("PATH")])])
    return kept | {"PATH": path, "VIRTUAL_ENV": folder, "TMPDIR": order["temporary"]}


def _to_inherit(order: Mapping[str, Any]) -> int:
    """Return a descriptor that the next program reads the order from; this one could not tell it more."""
    with tempfile.TemporaryFile(dir=order["temporary"]) as file:
        file.write(json.dumps(order).encode())
        file.seek(0)
        return os.dup2(file.fileno(), os.dup(file.fileno()))  # which makes it inheritable


def _adopt_orphans() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end_with(keeper: int) -> None:
    """End this process with the one that keeps it; adopt orphans, which the wall would forbid later."""
    _adopt_orphans()
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123 - as elsewhere
        file.write(_OOM_SCORE_ADJ)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:  # it ended before the call
            os._exit(1)


def _exit(code: int, error: Exception) -> NoReturn:
    sys.stderr.write(f"{error}\n")
    sys.stderr.flush()
    os._exit(code)
