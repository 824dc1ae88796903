"""Proves that the wheel has every file of the packages, and that a missing one is noticed."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tools import wheel


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    return wheel.build(tmp_path_factory.mktemp("dist"))


def test_every_file_is_in_it(built: Path) -> None:
    """Templates, pages, scripts and descriptions too, not only Python's files."""
    assert wheel.missing_files(built) == set()
    names = zipfile.ZipFile(built).namelist()
    assert {Path(name).suffix for name in names} >= {".py", ".yaml", ".html", ".js", ".css"}


def test_a_missing_file_is_named(built: Path, tmp_path: Path) -> None:
    """A wheel without one of its files is not complete."""
    left_out = "gateway/api/openapi.yaml"
    with zipfile.ZipFile(built) as whole, zipfile.ZipFile(tmp_path / built.name, "w") as part:
        for name in set(whole.namelist()) - {left_out}:
            part.writestr(name, whole.read(name))
    assert wheel.missing_files(tmp_path / built.name) == {left_out}


def test_both_scripts_are_in_it(built: Path) -> None:
    """The short name, and that of the distribution, which `uvx` runs without `--from`."""
    with zipfile.ZipFile(built) as archive:
        (name,) = (entry for entry in archive.namelist() if entry.endswith("entry_points.txt"))
        scripts = archive.read(name).decode()
    assert "gateway = gateway.__main__:main" in scripts
    assert "model-invocation-endpoint = gateway.__main__:main" in scripts
