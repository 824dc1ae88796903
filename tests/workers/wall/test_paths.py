"""Proves which of Python's folders a confined process may read: code, and not the settings beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.confined import run
from workers.wall import landlock, paths
from workers.wall.paths import python_rules, shared_rules

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.confined import Grounds


def rules(*entries: Path | str, private: list[Path], prefixes: tuple[str, ...] = ()) -> dict[str, int]:
    return dict(python_rules(map(str, entries), prefixes, private=private))


def test_a_folder_of_code_is_readable(tmp_path: Path) -> None:
    """Such as site-packages, or `src` of a project that is installed in place."""
    source = tmp_path / "project" / "src"
    source.mkdir(parents=True)
    (tmp_path / "project" / ".env").touch()
    found = rules(source, private=[tmp_path / "project", tmp_path])
    assert found == {str(source): landlock.READ}


def test_of_a_project_only_modules_are_readable(tmp_path: Path) -> None:
    """Its folder is listed to find them; `.env`, keys and data beside them stay closed."""
    project = tmp_path / "project"
    for name in ("package/__init__.py", "data/secrets.csv"):
        (project / name).parent.mkdir(parents=True)
        (project / name).touch()
    for name in (".env", "pyproject.toml", "module.py", "key.pem"):
        (project / name).touch()
    found = rules(project, private=[project, tmp_path / "home"])
    assert found == {
        str(project): landlock.LIST,
        str(project / "package"): landlock.READ,
        str(project / "module.py"): landlock.READ,
    }


@pytest.mark.parametrize("entry", ["", ".", "lib"])
def test_relative_entries_open_nothing(tmp_path: Path, entry: str) -> None:
    """They mean the working folder."""
    assert rules(entry, private=[tmp_path]) == {}


def test_private_folders_and_what_contains_them_stay_closed(tmp_path: Path) -> None:
    """The working folder, home and what is above them, also by a link."""
    home = tmp_path / "users" / "home"
    home.mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "users")
    for entry in (home, home.parent, tmp_path / "link", "/"):
        assert rules(entry, private=[tmp_path / "working", home]) == {}


def test_home_is_no_project(tmp_path: Path) -> None:
    """A repository of settings at home does not open it."""
    (tmp_path / "home" / ".git").mkdir(parents=True)
    (tmp_path / "home" / "secrets.py").touch()
    assert rules(tmp_path / "home", private=[tmp_path / "working", tmp_path / "home"]) == {}


def test_a_prefix_that_is_the_working_folder_opens_its_libraries(tmp_path: Path) -> None:
    """As with `python -m venv .`."""
    found = rules(private=[tmp_path], prefixes=(str(tmp_path),))
    assert str(tmp_path / "lib") in found
    assert str(tmp_path) not in found


def test_shared_rules_have_no_private_folder() -> None:
    """Neither keys of the system nor the folders of all users are among them."""
    shared = {path for path, _ in shared_rules()}
    assert not shared & {"/", "/etc", "/etc/ssl", "/home", "/root", "/tmp", "/var", "/run", "/dev", "/sys"}  # noqa: S108


def test_installed_packages_can_be_imported(grounds: Grounds) -> None:
    """A package that is installed in place, from a project with settings beside it, works behind the wall."""
    project = grounds.root / "elsewhere"
    (project / "custom").mkdir(parents=True)
    (project / "custom" / "__init__.py").write_text("value = 7")
    (project / "pyproject.toml").touch()
    (project / ".env").write_text("secret")
    code = """
    import custom
    try:
        open(custom.__file__.rpartition('/custom/')[0] + '/.env')
    except PermissionError:
        return custom.value == 7
    """
    outcome = run(grounds, code, search_path=[str(project)])
    assert outcome.value, outcome


def test_closed_folders_below_what_all_may_read(tmp_path: Path) -> None:
    """Of a system's folder with the working folder or the cache below it, all else is readable."""
    for name in ("bin/tool", "src/app/.env", "src/app/models/m", "src/other/file", "cache/model", "file"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    closed = [tmp_path / "src" / "app", tmp_path / "cache"]
    found = dict(paths._around(tmp_path, landlock.READ, closed, {str(tmp_path)}))
    assert found == {str(tmp_path / name): landlock.READ for name in ("bin", "file", "src/other")}
    assert dict(paths._around(tmp_path / "bin", landlock.READ, closed, ())) == {
        str(tmp_path / "bin"): landlock.READ
    }


def test_a_systems_folder_that_is_the_working_folder(tmp_path: Path) -> None:
    """Its programs stay readable, a `.env` does not."""
    for name in ("tool", ".env"):
        (tmp_path / name).write_text("x")
    found = dict(paths._around(tmp_path, landlock.READ, [tmp_path], {str(tmp_path)}))
    assert found == {str(tmp_path / "tool"): landlock.READ}
