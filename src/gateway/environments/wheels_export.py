"""Fills a folder with a lock and its wheels, for gateways without a package index."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from gateway.concurrency.threads import in_thread
from gateway.environments import failures
from gateway.errors import EnvironmentRefused

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.environments.interpreters import Interpreter
    from gateway.environments.lock import Lock
    from gateway.environments.uv import Uv


async def export_wheels(
    uv: Uv, lock: Lock, interpreter: Interpreter, *, folder: Path, scratch: Path, wheels: Path | None
) -> int:
    """Fill `folder` with every wheel of the lock, whose hashes are checked; return how many there are.

    Then write the lock beside them: wheels tell no day to resolve as of, and the folder may have others.
    uv downloads none that it does not install. So pip does, in an environment of its own. Raise
    EnvironmentRefused, UpstreamUnavailable, or OSError for a full disk.
    """
    file, python = scratch / "lock.txt", scratch / "pip" / "bin" / "python"
    await in_thread(file.write_text, lock.text, encoding="utf-8")
    read = [interpreter.prefix, *([str(wheels)] if wheels else [])]
    made = await uv.run_program(
        [interpreter.path, "-I", "-m", "venv", str(scratch / "pip")], scratch=scratch, read=read
    )
    if made.status:
        raise EnvironmentRefused(f"Python {interpreter.minor} has no pip of its own, which an export needs.")
    command = [
        str(python), "-I", "-m", "pip", "--disable-pip-version-check", "download", "--quiet",
        "--require-hashes", "--no-deps", "--only-binary", ":all:", "--dest", str(scratch / "wheels"),
        "--requirement", str(file), *(("--no-index", "--find-links", str(wheels)) if wheels else ()),
    ]  # fmt: skip
    output = await uv.run_program(command, scratch=scratch, read=read)
    if output.status:
        raise failures.to_error(output, doing="downloaded", secrets=uv.secrets)
    return await in_thread(
        _collect, scratch / "wheels", folder, lock=file if lock.is_portable else None, name=lock.name
    )


def _collect(source: Path, target: Path, *, lock: Path | None, name: str) -> int:
    target.mkdir(parents=True, exist_ok=True)
    wheels = list(source.glob("*.whl"))
    for wheel in wheels:
        _copy(wheel, target / wheel.name)
    if lock is not None:
        _copy(lock, target / f"{name}.txt")
    return len(wheels)


def _copy(source: Path, target: Path) -> None:
    """Copy the file as a whole or not at all."""
    partial = target.with_name(f".{target.name}")
    shutil.copyfile(source, partial)
    partial.replace(target)
