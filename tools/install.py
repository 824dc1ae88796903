"""A virtual environment from a hash-locked requirements file; nothing is done where it is up to date.

Runs on the system's Python before anything is installed, so it uses the standard library only.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)


def main() -> int:
    """Install as the command line says; 0 when the environment is what the lock file says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "lock", help="the requirements file; a superset of it that is installed already will do"
    )
    parser.add_argument("--superset", help="another requirements file that holds all of this one")
    parser.add_argument("--venv", default=".venv", help="the environment's folder")
    parser.add_argument("--no-project", action="store_true", help="leave the project itself out")
    parser.add_argument("--no-uv", action="store_true", help="install with pip alone")
    parser.add_argument("--sources", action="store_true", help="build packages that have no wheel here")
    wanted = parser.parse_args()
    if sys.version_info[:2] < OLDEST:
        have = f"{sys.version.split()[0]} ({sys.executable})"
        say(f"Python {OLDEST[0]}.{OLDEST[1]} or newer is needed; this is {have}")
        say("name another one: make PYTHON3=python3.12 …")
        return 2
    venv, locks = ROOT / wanted.venv, [wanted.lock, *filter(None, [wanted.superset])]
    if any(installed(venv, ROOT / lock) for lock in locks):
        return 0
    started = time.monotonic()
    make(venv)
    lock, uv = ROOT / wanted.lock, not wanted.no_uv
    install(venv, lock, project=not wanted.no_project, uv=uv, sources=wanted.sources)
    stamp(venv, ROOT / wanted.lock).write_text(digest(ROOT / wanted.lock))
    say(f"{wanted.venv} is ready after {time.monotonic() - started:.0f} s")
    return 0


def say(text: str) -> None:
    """One line of progress."""
    sys.stderr.write(f"install: {text}\n")
    sys.stderr.flush()


def digest(lock: Path) -> str:
    """A digest of what decides an environment: the lock file and the project's own metadata."""
    return hashlib.sha256(lock.read_bytes() + (ROOT / "pyproject.toml").read_bytes()).hexdigest()


def stamp(venv: Path, lock: Path) -> Path:
    """The file that says which lock the environment holds; written last."""
    return venv / f"{lock.name}.installed"


def installed(venv: Path, lock: Path) -> bool:
    """Whether the environment already holds what this lock says now."""
    mark = stamp(venv, lock)
    return mark.is_file() and mark.read_text() == digest(lock)


def make(venv: Path) -> None:
    """Make the environment where there is none that runs."""
    python = venv / "bin" / "python"
    if python.exists() and subprocess.run([str(python), "-c", "import pip"], check=False).returncode == 0:
        return
    say(f"making {venv.name} with Python {sys.version.split()[0]}")
    shutil.rmtree(venv, ignore_errors=True)
    run([sys.executable, "-m", "venv", str(venv)])


def install(venv: Path, lock: Path, *, project: bool, uv: bool, sources: bool = False) -> None:
    """Everything in the lock file, then the project itself, by uv if it can be installed, else by pip."""
    python = str(venv / "bin" / "python")
    if uv and have_uv(venv, python):
        # compiled now, in parallel, as pip does: mlflow's first import takes seconds otherwise
        front = [str(venv / "bin" / "uv"), "pip", "install", "--compile-bytecode", "--python", python]
    else:
        say("with pip, which takes longer than uv")
        front = [python, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar=on"]
    say(f"installing {lock.name}")
    # building a package would fetch what its build needs, which no lock file fixes
    wheels = [] if sources else ["--only-binary", ":all:"]
    run([*front, "--require-hashes", *wheels, "-r", str(lock)])
    if project:
        run([*front, "--quiet", "--no-deps", "--no-build-isolation", "--editable", str(ROOT)])


def have_uv(venv: Path, python: str) -> bool:
    """Whether uv is, or could be put, in the environment."""
    if (venv / "bin" / "uv").exists():
        return True
    say("fetching uv, which installs in seconds")
    quiet = ["--quiet", "--disable-pip-version-check", "--require-hashes", "--only-binary=:all:"]
    command = [python, "-m", "pip", "install", *quiet, "-r", str(ROOT / "requirements-uv.lock")]
    return subprocess.run(command, check=False).returncode == 0


def run(command: list[str]) -> None:
    """Run a step in front of the user; leave with its status where it fails."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    status = subprocess.run(command, check=False, env=environment).returncode
    if status:
        say(f"this failed with status {status}: {' '.join(command)}")
        sys.exit(status)


if __name__ == "__main__":
    sys.exit(main())
