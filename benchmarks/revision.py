"""A checkout of the project whose gateway can be run: the working tree, or a git revision in a folder."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import environment

ROOT = Path(__file__).resolve().parents[1]
LOCK = "requirements.lock"
_FILES = """
import importlib, sys
for name in sys.argv[1:]:
    print(importlib.import_module(name).__file__)
"""


class RevisionError(Exception):
    """A revision cannot be checked out, installed, or run as itself."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A checkout and the interpreter that runs its gateway."""

    name: str
    root: Path
    python: Path

    @property
    def source(self) -> Path:
        """Return the folder of its packages."""
        return self.root / "src"

    @property
    def settings(self) -> dict[str, str]:
        """Return the environment variables that make `python` prefer these packages to installed ones."""
        return {"PYTHONPATH": str(self.source)}

    def knows(self, setting: str) -> bool:
        """Return whether its gateway has a setting of that name; one that it lacks would be refused."""
        template = self.root / "env.template"
        return template.is_file() and f"{setting}=" in template.read_text()

    def verify(self, folder: Path) -> None:
        """Raise RevisionError unless a process in `folder` would import every package from here."""
        names = sorted(file.parent.name for file in self.source.glob("*/__init__.py"))
        command = [str(self.python), "-c", _FILES, *names]
        ran = subprocess.run(
            command, cwd=folder, env=environment(self.settings), check=False, capture_output=True, text=True
        )
        if ran.returncode:
            raise RevisionError(f"{self.name} cannot be imported:\n{ran.stderr[-2000:]}")
        files = [Path(line) for line in ran.stdout.splitlines()]
        strange = [str(file) for file in files if not file.resolve().is_relative_to(self.source.resolve())]
        if "gateway" not in names or strange:
            raise RevisionError(f"{self.name} would not run from {self.source}, but from {strange}")


def working_tree() -> Revision:
    """Return the checkout that this file is part of, run by the interpreter that runs this."""
    changes = " with uncommitted changes" if git("status", "--porcelain", "--", "src") else ""
    return Revision(f"{git('rev-parse', '--short', 'HEAD')}{changes}", ROOT, Path(sys.executable))


def checkout(revision: str, folder: Path, *, repository: Path = ROOT) -> Revision:
    """Return a git revision of `repository`, copied to `folder`, with an environment of its packages.

    An archive instead of a git worktree leaves nothing behind in the repository, however the run ends.
    Raises RevisionError.
    """
    commit = git(
        "rev-parse", "--verify", "--quiet", "--short", f"{revision}^{{commit}}", repository=repository
    )
    archive, root = folder / "revision.tar", folder / "revision"
    root.mkdir(parents=True)
    git("archive", "--format=tar", f"--output={archive}", commit, repository=repository)
    command = ["tar", "-x", "-f", str(archive), "-C", str(root)]
    subprocess.run(command, check=True)
    archive.unlink()
    name = commit if revision.startswith(commit) else f"{revision} ({commit})"
    return Revision(name, root, _interpreter(root))


def git(*arguments: str, repository: Path = ROOT) -> str:
    """Return what a git command prints. Raises RevisionError if it fails."""
    command = ["git", "-C", str(repository), *arguments]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    if ran.returncode:
        raise RevisionError(f"`git {' '.join(arguments)}` failed: {ran.stderr.strip() or 'no such revision'}")
    return ran.stdout.strip()


def _interpreter(root: Path) -> Path:
    """Return the interpreter of a new environment, in which nothing of another checkout is installed.

    A fork server that looks behind the installed packages would take the workers' code from there.
    """
    if not (root / LOCK).is_file():
        raise RevisionError(f"the revision has no {LOCK} to install from")
    command = [sys.executable, str(root / "tools" / "install.py"), LOCK]
    if subprocess.run(command, cwd=root, check=False, stdout=sys.stderr).returncode:
        raise RevisionError(f"`{' '.join(command)}` failed")
    return root / ".venv" / "bin" / "python"
