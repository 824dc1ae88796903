"""The hash-locked requirement files: made by `make lock`, and found out of date by `make check`.

Each file's first line holds a digest of what it was resolved from, so that checking needs no network.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MARK = "# resolved from sha256:"
UV = Path(sys.prefix) / "bin" / "uv"
COMMON = ("--generate-hashes", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links")


@dataclass(frozen=True, slots=True)
class Lock:
    """One lock file: what it is resolved from, and the tables of pyproject.toml that decide it.

    With `as_of`, a date, it is for one version of Python on one system, of packages of that age that have a
    wheel for it; otherwise for all systems from `python` on.
    """

    name: str
    sources: tuple[str, ...]
    tables: tuple[str, ...] = ()
    python: str = "3.11"
    as_of: str = ""

    @property
    def path(self) -> Path:
        """Where the lock file lies."""
        return ROOT / self.name

    def digest(self) -> str:
        """A digest of everything that this lock was, or would be, resolved from."""
        parsed = tomllib.loads((ROOT / "pyproject.toml").read_text())
        decides: dict[str, Any] = {table: _table(parsed, table) for table in self.tables}
        decides["python"] = parsed["project"]["requires-python"]
        if self.as_of:
            decides["python"], decides["as_of"] = self.python, self.as_of
        decides["sources"] = self.sources
        files = [source.removeprefix("--constraints=") for source in self.sources]
        decides["files"] = [(ROOT / file).read_text() for file in files if file.endswith((".in", ".lock"))]
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()

    def current(self) -> bool:
        """Whether the file was resolved from what stands in the sources now."""
        with self.path.open() as lines:
            return next(lines, "").strip() == MARK + self.digest()

    def write(self, *, upgrade: bool) -> None:
        """Resolve anew, keeping the versions there are unless `upgrade`."""
        command = [str(UV), "pip", "compile", "--quiet", *COMMON, "--custom-compile-command", "make lock"]
        command += ["--python-version", self.python, *self.sources, "--output-file", self.name]
        aged = ["--only-binary", ":all:", "--exclude-newer", self.as_of]
        command += aged if self.as_of else ["--universal"]
        subprocess.run(command + ["--upgrade"] * upgrade, cwd=ROOT, check=True)
        self.path.write_text(f"{MARK}{self.digest()}\n{self.path.read_text()}")


def _table(parsed: dict[str, Any], dotted: str) -> object:
    found: Any = parsed
    for part in dotted.split("."):
        found = found[part]
    return found


PROJECT = ("project.dependencies", "project.optional-dependencies", "dependency-groups", "tool.uv")
ENVIRONMENTS = "tests/environments/locks"
LOCKS = (
    Lock(
        "requirements.lock",
        ("pyproject.toml", "--extra=demo", "--extra=environments", "--group=build"),
        PROJECT,
    ),
    Lock(
        "requirements-dev.lock",
        (
            "pyproject.toml",
            "--extra=demo",
            "--extra=environments",
            "--group=dev",
            "--constraints=requirements.lock",
        ),
        PROJECT,
    ),
    Lock(
        "requirements-mlflow-server.lock",
        ("requirements-mlflow-server.in", "--constraints=requirements.lock"),
    ),
    Lock("requirements-clients.lock", ("requirements-clients.in",)),
    Lock("requirements-openapi.lock", ("requirements-openapi.in",)),
    Lock("requirements-mlflow2.lock", ("requirements-mlflow2.in",)),
    Lock(
        "requirements-zoo.lock",
        (
            "pyproject.toml",
            "--extra=demo",
            "--extra=environments",
            "--group=dev",
            "requirements-zoo.in",
            "--constraints=requirements-dev.lock",
        ),
        PROJECT,
    ),
    Lock("requirements-mlserver.lock", ("requirements-mlserver.in",)),
    Lock("requirements-litserve.lock", ("requirements-litserve.in", "--constraints=requirements-dev.lock")),
    Lock("requirements-ray.lock", ("requirements-ray.in",)),
    Lock("requirements-uv.lock", ("requirements-uv.in",)),
    Lock("requirements-audit.lock", ("requirements-audit.in",)),
    *(
        Lock(f"{ENVIRONMENTS}/{name}.lock", (f"{ENVIRONMENTS}/{name}.in",), python=python, as_of=as_of)
        for name, python, as_of in (
            ("mlflow-1.30", "3.10", "2022-12-01"),
            ("mlflow-2.19", "3.10", "2025-01-01"),
            ("boosting", "3.11", "2024-01-01"),
        )
    ),
)


def main() -> int:
    """Check the lock files, or write them; 1 where one is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="resolve what is out of date again")
    parser.add_argument(
        "--upgrade", action="store_true", help="resolve all of them again, to the newest versions"
    )
    wanted = parser.parse_args()
    status = 0
    # one after the other: a later one may be constrained by what an earlier one has just become
    for lock in LOCKS:
        if not wanted.upgrade and lock.path.is_file() and lock.current():
            continue
        if wanted.write or wanted.upgrade:
            sys.stdout.write(f"resolving {lock.name}\n")
            lock.write(upgrade=wanted.upgrade)
        else:
            sys.stderr.write(f"{lock.name} is not what its sources say now: run `make lock`\n")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
