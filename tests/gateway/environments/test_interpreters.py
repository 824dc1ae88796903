"""Proves how interpreters are found: each is asked, and none is taken that does not answer as it should."""

from __future__ import annotations

import sys
from pathlib import Path

from gateway.environments.interpreters import ask, find_interpreters


def script(path: Path, text: str) -> Path:
    """Write a program."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return path


def test_the_gateways_own_python_is_found() -> None:
    """Without a choice, it is among those that are found, and as its own installation, not as this venv."""
    found = {interpreter.version: interpreter for interpreter in find_interpreters((), {})}
    own = found[sys.version_info[:2]]
    assert Path(own.path).resolve() == Path(sys.executable).resolve()
    assert own.prefix == sys.base_prefix


def test_programs_that_are_no_python_are_left_out(tmp_path: Path) -> None:
    """One that fails, as a version manager's shim does, one that answers something else, and one too old."""
    shim = script(tmp_path / "shim", "exit 127")
    other = script(tmp_path / "other", "echo '{}'")
    old = script(tmp_path / "old", """echo '["cpython", [3, 8], "abi", "/x", "/x", false]'""")
    pypy = script(tmp_path / "pypy", """echo '["pypy", [3, 11], "abi", "/x", "/x", false]'""")
    absent = tmp_path / "absent"
    assert ask(shim) is ask(other) is ask(pypy) is ask(absent) is None
    assert ask(old) is not None
    assert find_interpreters([shim, other, old, pypy, absent], {}) == ()


def test_a_choice_is_all_there_is(tmp_path: Path) -> None:
    """`GATEWAY_PYTHONS` replaces the search."""
    own = Path(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")
    assert [found.version for found in find_interpreters([own], {"HOME": str(tmp_path)})] == [
        sys.version_info[:2]
    ]
