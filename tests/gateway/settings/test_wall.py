"""Proves which folders an operator can open for models, and what the gateway makes of these settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway import settings
from workers.wall.policy import WallPolicy

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder, the working folder in it, and a folder of data elsewhere."""
    for name in ("home/project", "home/.cache/huggingface", "srv/data", "srv/cache/v1"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "home" / "project")
    return tmp_path / "home"


def problem(value: str, cache: Path) -> str:
    with pytest.raises(settings.SettingsError) as caught:
        settings.load({"GATEWAY_WORKER_READABLE": value, "GATEWAY_CACHE_DIR": str(cache)})
    (line,) = caught.value.problems
    return line


def test_the_default_is_a_wall_with_network() -> None:
    """Models reach what they reached before by network, and no files."""
    found = settings.load({})
    assert settings.wall_policy(found) == WallPolicy("auto", "all", (), (str(found.cache_dir),))


def test_folders_are_separated_by_colons(home: Path) -> None:
    """A tilde is the home folder, and a folder in it may be opened."""
    data = home.parent / "srv" / "data"
    found = settings.load(
        {
            "GATEWAY_WORKER_READABLE": f"{data}:~/.cache/huggingface:",
            "GATEWAY_WORKER_WALL": "require",
            "GATEWAY_WORKER_NETWORK": "none",
        }
    )
    readable = (str(data), str(home / ".cache" / "huggingface"))
    assert settings.wall_policy(found) == WallPolicy("require", "none", readable, (str(found.cache_dir),))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("relative", "is not an absolute path"),
        ("/no/such/folder", "is not a folder that exists"),
        ("/", "which is the working folder, where .env is read"),
        ("~", "which is the working folder, where .env is read"),
        ("{home}/project", "is the working folder, where .env is read"),
        ("{home}/..", "which is the working folder"),
        ("{home}/../srv", "which is the cache folder, which has the files of all models"),
        ("{home}/../srv/cache", "is the cache folder"),
        ("{home}/../srv/cache/v1", "is in the cache folder"),
    ],
)
def test_private_folders_are_refused(home: Path, value: str, words: str) -> None:
    """With the reason; what contains them would open them too."""
    line = problem(value.format(home=home), home.parent / "srv" / "cache")
    assert line.startswith("GATEWAY_WORKER_READABLE: ")
    assert words in line


def test_home_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has keys and credentials; also by a link."""
    monkeypatch.chdir("/")
    link = home.parent / "link"
    link.symlink_to(home)
    assert "is the home folder, which has credentials" in problem(str(link), home.parent / "cache")


def test_a_folder_of_environments_is_private(tmp_path: Path) -> None:
    """Each worker reads its own environment alone, as it does its own files."""
    found = settings.load({"GATEWAY_CACHE_DIR": "/c", "GATEWAY_ENVIRONMENTS_DIR": str(tmp_path)})
    assert settings.wall_policy(found).private == ("/c", str(tmp_path))
