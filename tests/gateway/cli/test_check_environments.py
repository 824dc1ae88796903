"""Proves what `gateway check` says of environments: what is there to build them, and what is missing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway import settings
from gateway.cli import check_environments
from gateway.environments.recipe import own_minor
from gateway.system.programs import find_uv

if TYPE_CHECKING:
    from gateway.cli.check_result import CheckResult

OTHER_FILE_SYSTEM = Path("/dev/shm")  # noqa: S108 - another file system on any Linux


def check(cache: Path, **values: str) -> dict[str, CheckResult]:
    """Return the results by subject."""
    environ = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "GATEWAY_CACHE_DIR": str(cache), **values}
    results = check_environments.check_environments(settings.load(environ))
    return {result.subject: result for result in results}


@pytest.mark.skipif(find_uv() is None, reason="uv is not installed")
def test_what_is_there_is_named(tmp_path: Path) -> None:
    """The mode, uv's version, the Pythons; nothing is created, and no address of an index is shown."""
    found = check(
        tmp_path / "cache",
        GATEWAY_ENVIRONMENTS="always",
        GATEWAY_PYTHONS=sys.executable,
        UV_DEFAULT_INDEX="http://user:s3cr3t@127.0.0.1:9/simple",
    )
    assert [(result.ok, result.fix) for result in found.values()] == [(True, "")] * 3
    assert found["environments"].text.startswith("always: built by uv ")
    assert found["environments"].text.endswith(", from the indexes of UV_DEFAULT_INDEX")
    assert found["Pythons"].text.startswith(f"{own_minor()} (/")
    assert "s3cr3t" not in "".join(map(str, found.values()))
    assert list(tmp_path.iterdir()) == []


def test_off(tmp_path: Path) -> None:
    """Nothing else is tried then."""
    found = check(tmp_path, GATEWAY_ENVIRONMENTS="off")
    assert list(found) == ["environments"]
    assert found["environments"].ok
    assert "GATEWAY_ENVIRONMENTS" in found["environments"].text


@pytest.mark.parametrize(("program", "told"), [(None, "uv was not found"), ("false", "does not start")])
def test_no_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str | None, told: str) -> None:
    """An environment that is needed could not be built."""
    uv = None if program is None else Path("/bin", program)
    monkeypatch.setattr(check_environments, "find_uv", lambda: uv)
    result = check(tmp_path, GATEWAY_ENVIRONMENTS="needed")["environments"]
    assert (result.ok, told in result.text) == (False, True)
    assert "install uv" in result.fix


@pytest.mark.parametrize(("ok", "named"), [(False, "/bin/false"), (True, f"{sys.executable},/bin/false")])
def test_programs_that_are_no_python(tmp_path: Path, named: str, *, ok: bool) -> None:
    """They are noted; it fails if no other is there."""
    result = check(tmp_path, GATEWAY_ENVIRONMENTS="needed", GATEWAY_PYTHONS=named)["Pythons"]
    assert result.ok is ok
    assert "GATEWAY_PYTHONS" in result.fix


@pytest.mark.skipif(not OTHER_FILE_SYSTEM.is_dir(), reason="there is no other file system")
def test_folders_that_share_nothing(tmp_path: Path) -> None:
    """It works, and takes more disk."""
    if tmp_path.stat().st_dev == OTHER_FILE_SYSTEM.stat().st_dev:
        pytest.skip("the tests' folder is on that file system")
    found = check(tmp_path, GATEWAY_ENVIRONMENTS="needed", UV_CACHE_DIR=str(OTHER_FILE_SYSTEM / "none"))
    result = found["packages folder"]
    assert result.ok
    assert "shares no files with uv's cache" in result.text
    assert "GATEWAY_ENVIRONMENTS_DIR and UV_CACHE_DIR" in result.fix


def test_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    """Here because its parent is a file."""
    (tmp_path / "file").touch()
    folder = str(tmp_path / "file" / "environments")
    found = check(tmp_path, GATEWAY_ENVIRONMENTS="needed", GATEWAY_ENVIRONMENTS_DIR=folder)
    result = found["packages folder"]
    assert not result.ok
    assert "GATEWAY_ENVIRONMENTS_DIR" in result.fix
