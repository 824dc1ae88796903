"""Run code in a process that is confined as a worker is, or not at all."""

from __future__ import annotations

import _ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from workers.wall import support

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

HERE: Final = support.detect()
"""What the kernel of this machine can do."""
_SECONDS: Final = 30.0
_PATIENCE_SECONDS: Final = 300.0
_ROOT: Final = str(Path(__file__).resolve().parents[2])


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a piece of code ended: its value, or the name of its error with the text."""

    value: Any
    error: str | None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Grounds:
    """The folders of a confined process, and what lies beside them."""

    root: Path
    names: dict[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> Path:
        """The folder that the process may read."""
        return self.root / "cache" / "own"

    @property
    def temporary(self) -> Path:
        """The folder that it may write."""
        return self.root / "tmp" / "worker"

    @property
    def working(self) -> Path:
        """Its working folder, with `.env`."""
        return self.root / "project"


def lay_out(root: Path) -> Grounds:
    """Create the folders and files of a gateway with two models below `root`."""
    grounds = Grounds(root)
    for folder in (grounds.model, grounds.temporary, grounds.working, root / "home" / ".ssh"):
        folder.mkdir(parents=True)
    (root / "cache" / "other").mkdir()
    for file in ("cache/own/MLmodel", "cache/other/model.pkl", "project/.env", "home/.ssh/id", "tmp/other"):
        (root / file).write_text("secret")
        (root / file).chmod(0o640)
    shutil.copy("/bin/true", root / "home" / "program")
    shutil.copy(_ctypes.__file__, root / "home" / "library.so")
    grounds.names.update(
        model=str(grounds.model),
        temporary=str(grounds.temporary),
        working=str(grounds.working),
        home=str(root / "home"),
        other=str(root / "cache" / "other"),
        root=str(root),
    )
    return grounds


def task(
    grounds: Grounds,
    code: str,
    *,
    wall: bool = True,
    abi: int | None = None,
    with_filter: bool = True,
    before: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    **policy: Any,
) -> dict[str, Any]:
    """Describe a run of the body of a function in a process of its own.

    `policy` are fields of the wall's policy; `abi` acts as if the kernel had that version of Landlock.
    `before` are statements that run before the process is confined.
    """
    confined = {
        "read": [str(grounds.model)],
        "write": [str(grounds.temporary)],
        "policy": policy,
        "abi": abi,
        "with_filter": with_filter,
    }
    folders = {"HOME": grounds.names["home"], "TMPDIR": str(grounds.temporary)}
    return {
        "before": list(before),
        "code": textwrap.dedent(code).strip("\n"),
        "seconds": _SECONDS,
        "names": grounds.names,
        "working": str(grounds.working),
        "environment": folders | dict(environment or {}),
        "wall": confined if wall else None,
    }


def run_all(tasks: Sequence[Mapping[str, Any]], *, search_path: Sequence[str] = ()) -> list[Outcome]:
    """Run each task in a process of its own, and return how they went."""
    path = os.pathsep.join([_ROOT, *search_path])
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        # Files and not pipes: what a task leaves behind would hold these open.
        done = subprocess.run(
            [sys.executable, "-P", "-m", "tests.support.programs.confined"],
            input=json.dumps(tasks),
            env=os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=output,
            stderr=errors,
            text=True,
            timeout=_PATIENCE_SECONDS,
            check=False,
        )
        output.seek(0)
        errors.seek(0)
        assert done.returncode == 0, errors.read()
        lines = [line for line in output if line.startswith('{"value"')]
    return [Outcome(**json.loads(line)) for line in lines]


def run(grounds: Grounds, code: str, *, search_path: Sequence[str] = (), **options: Any) -> Outcome:
    """Run the body of a function in a process of its own, and return how that went; see `task`."""
    (outcome,) = run_all([task(grounds, code, **options)], search_path=search_path)
    return outcome


@contextmanager
def neighbour(folder: Path) -> Iterator[Neighbour]:
    """Run a process beside the confined ones; its sockets are in `folder`."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.programs.neighbour", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield Neighbour(process, json.loads(process.stdout.readline()) | {"sockets": str(folder)})
        assert process.poll() is None, "an attack ended the neighbour"
        process.communicate()


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A process beside the confined ones, and where its secrets are."""

    process: subprocess.Popen[str]
    names: dict[str, Any]

    def signals(self) -> list[int]:
        """Return the signals that it got, and that are pending."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("signals\n")
        self.process.stdin.flush()
        found: list[int] = json.loads(self.process.stdout.readline())
        return found
