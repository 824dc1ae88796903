"""The checks of `gateway check` for Python environments: their mode, uv, the Pythons, and the folder."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.cli.check_result import CheckResult
from gateway.environments.interpreters import find_interpreters
from gateway.environments.store import EnvironmentStore
from gateway.system.programs import find_uv
from workers.metrics import Counters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.settings import Settings

_SUBJECT: Final = "environments"
_UV_FIX: Final = "install uv beside the gateway: the extra `environments` of its package brings it"
_ASK_SECONDS: Final = 20.0
_OFF: Final = "off: all models share the packages beside the gateway (GATEWAY_ENVIRONMENTS)"


def check_environments(settings: Settings) -> Iterator[CheckResult]:
    """Yield what is known of environments; one that may be needed and cannot be built is a failure."""
    chosen = settings.environments
    uv = find_uv()
    if chosen.mode == "off":
        yield CheckResult(_SUBJECT, ok=True, text=_OFF, fix="" if uv else _UV_FIX)
        return
    version = None if uv is None else _version(uv)
    if version is None:
        text = f"{chosen.mode}, but uv was not found" if uv is None else f"{uv} does not start"
        yield CheckResult(_SUBJECT, ok=False, text=text, fix=f"{_UV_FIX}; or set GATEWAY_ENVIRONMENTS=off")
    else:
        text = f"{chosen.mode}: built by {version}, {_source(settings)}"
        yield CheckResult(_SUBJECT, ok=True, text=text)
    yield _check_pythons(settings)
    yield _check_folder(settings)


def _version(uv: Path) -> str | None:
    """Return what uv says that it is, such as `uv 0.9.0`; None if it does not start."""
    try:
        answer = subprocess.run(  # noqa: S603 - found by the gateway itself
            [str(uv), "--version"],
            capture_output=True, timeout=_ASK_SECONDS, check=True, stdin=subprocess.DEVNULL, env={},
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return " ".join(answer.stdout.decode(errors="replace").split()[:2])


def _source(settings: Settings) -> str:
    """Say where packages come from, without addresses, which may have passwords."""
    if settings.environments.wheels is not None:
        return "from the wheels in GATEWAY_WHEELS alone"
    named = sorted(
        name
        for name in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL")
        if settings.environment.get(name)
    )
    return f"from the indexes of {' and '.join(named)}" if named else "from uv's own default index"


def _check_pythons(settings: Settings) -> CheckResult:
    """Check that there is a Python, and that each one that the settings name is one."""
    chosen = settings.environments.pythons
    found = find_interpreters(chosen, settings.environment)
    subject, text = "Pythons", ", ".join(f"{one.minor} ({one.path})" for one in found)
    if not found:
        fix = "name CPython 3.10 or newer in GATEWAY_PYTHONS, or leave it empty"
        return CheckResult(subject, ok=False, text="none was found that environments can be made of", fix=fix)
    few = len(found) < len(chosen)
    fix = "GATEWAY_PYTHONS names programs that are no CPython from 3.10 on, or one version twice"
    return CheckResult(subject, ok=True, text=text, fix=fix if few else "")


def _check_folder(settings: Settings) -> CheckResult:
    """Check that environments can share files with uv's cache, by a hard link between the two folders."""
    subject, folder = "packages folder", settings.environments_dir
    store = EnvironmentStore(folder, max_bytes=settings.environments.max_bytes, counters=Counters())
    cache = Path(settings.environment.get("UV_CACHE_DIR") or store.uv_cache)
    try:
        with (
            tempfile.TemporaryDirectory(dir=_existing(folder)) as linked,
            tempfile.NamedTemporaryFile(dir=_existing(cache)) as file,
        ):
            shares = _can_link(Path(file.name), Path(linked, "link"))
    except OSError as error:
        fix = "make it writable for this user, or set GATEWAY_ENVIRONMENTS_DIR and UV_CACHE_DIR to others"
        text = f"{folder} or uv's cache in {cache}: {error.strerror}"
        return CheckResult(subject, ok=False, text=text, fix=fix)
    if shares:
        return CheckResult(subject, ok=True, text=f"{folder} is writable and shares files with uv's cache")
    fix = "set GATEWAY_ENVIRONMENTS_DIR and UV_CACHE_DIR to folders of one file system that has hard links"
    text = f"{folder} shares no files with uv's cache in {cache}: each environment takes its whole size"
    return CheckResult(subject, ok=True, text=text, fix=fix)


def _existing(folder: Path) -> Path:
    """Return the folder itself, or that of its parents in which it will be created."""
    folder = folder.absolute()
    return next(each for each in (folder, *folder.parents) if each.exists())


def _can_link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError:
        return False
    return True
