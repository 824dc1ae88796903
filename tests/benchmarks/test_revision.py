"""Checkouts of git revisions, and the proof that one is what runs."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from benchmarks.revision import Revision, RevisionError, checkout

if TYPE_CHECKING:
    from pathlib import Path

INSTALL = """
import pathlib, sys
assert sys.argv[1:] == ["requirements.lock"]
folder = pathlib.Path(".venv", "bin")
folder.mkdir(parents=True)
(folder / "python").symlink_to(sys.executable)
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository with a package named gateway: one commit, and a change that is not committed."""
    folder = tmp_path / "repository"
    package = folder / "src" / "gateway"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("GENERATION = 1\n")
    (folder / "requirements.lock").write_text("# made by hand\naiohttp==3.13.0\n")
    (folder / "tools").mkdir()
    (folder / "tools" / "install.py").write_text(INSTALL)
    _git(folder, "init", "--quiet")
    _git(folder, "add", ".")
    _git(folder, "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "--message=one")
    (package / "__init__.py").write_text("GENERATION = 2\n")
    return folder


def test_checkout_is_what_was_committed(repository: Path, tmp_path: Path) -> None:
    """The checkout has the committed source, and an environment of its own, made by its own program."""
    revision = checkout("HEAD", tmp_path / "other", repository=repository)
    assert (revision.source / "gateway" / "__init__.py").read_text() == "GENERATION = 1\n"
    assert revision.python == tmp_path / "other" / "revision" / ".venv" / "bin" / "python"
    revision.verify(tmp_path)


def test_unknown_revision(repository: Path, tmp_path: Path) -> None:
    """A revision that git does not know is an error that names it."""
    with pytest.raises(RevisionError, match="nowhere"):
        checkout("nowhere", tmp_path / "other", repository=repository)


def test_verify_refuses_another_source(repository: Path, tmp_path: Path) -> None:
    """A checkout whose own packages are not what Python imports is refused: another would be measured."""
    source = tmp_path / "moved" / "src"
    source.parent.mkdir()
    (repository / "src").rename(source)
    revision = Revision("moved", repository, tmp_path / "python")
    revision.python.write_text(f'#!/bin/sh\nPYTHONPATH="{source}" exec "{sys.executable}" "$@"\n')
    revision.python.chmod(0o755)
    (repository / "src" / "gateway").mkdir(parents=True)
    (repository / "src" / "gateway" / "__init__.py").touch()
    with pytest.raises(RevisionError, match="would not run from"):
        revision.verify(tmp_path)


def _git(folder: Path, *arguments: str) -> None:
    # a hook of git's sets variables that name the repository it runs in
    ours = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    subprocess.run(["git", "-C", str(folder), *arguments], env=ours, check=True)
