"""Finds the Python interpreters of this machine: by full path, and each asked what it is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.errors import EnvironmentRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gateway.environments.recipe import Recipe

OLDEST: Final = (3, 10)
"""The oldest Python that the workers' code runs on."""

_ASK_SECONDS: Final = 20.0
_QUESTION: Final = (
    "import json, sys, sysconfig; print(json.dumps([sys.implementation.name, sys.version_info[:2],"
    " sysconfig.get_config_var('SOABI') or '', sys.base_prefix, sys.prefix,"
    " bool(sysconfig.get_config_var('Py_GIL_DISABLED'))]))"
)
_FOLDERS: Final = ("/usr/bin", "/usr/local/bin", "/opt/homebrew/bin")
_PATTERNS: Final = (  # below the home folder, or what a variable names
    ("PYENV_ROOT", ".pyenv", "versions/*/bin/python"),
    ("UV_PYTHON_INSTALL_DIR", ".local/share/uv/python", "*/bin/python3"),
)
_OTHERS: Final = ("/opt/python/*/bin/python", "/opt/pythons/*/bin/python")
_NAME: Final = re.compile(r"python3\.[0-9]{1,2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python of this machine: its absolute path, minor version, ABI, and the folder of its installation."""

    path: str
    version: tuple[int, int]
    abi: str
    prefix: str

    @property
    def minor(self) -> str:
        """The minor version as text, such as 3.10."""
        return f"{self.version[0]}.{self.version[1]}"


def find_interpreters(chosen: Sequence[Path], environment: Mapping[str, str]) -> tuple[Interpreter, ...]:
    """Return one CPython for each minor version from 3.10 on, oldest first. Starts each that it finds.

    Those of `chosen` alone if there are any, else the gateway's own and those in the usual places. Programs
    that only look for a Python on the PATH, as version managers install them, are not among these.
    """
    found: dict[tuple[int, int], Interpreter] = {}
    for path in chosen or (Path(sys.executable), *_usual_places(environment)):
        interpreter = ask(path)
        if interpreter is not None and interpreter.version >= OLDEST:
            found.setdefault(interpreter.version, interpreter)
    return tuple(sorted(found.values(), key=lambda interpreter: interpreter.version))


def ask(path: Path) -> Interpreter | None:
    """Return what the program at `path` is, or None if it is no CPython that starts."""
    try:
        answer = subprocess.run(  # noqa: S603 - the operator's own programs
            [str(path), "-I", "-S", "-c", _QUESTION],
            capture_output=True, timeout=_ASK_SECONDS, check=True, cwd="/", stdin=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        name, version, abi, base, prefix, free_threaded = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    if name != "cpython" or free_threaded:
        return None
    if base != prefix:  # of a virtual environment, the Python that it was made from
        return ask(Path(base, "bin", f"python{version[0]}.{version[1]}"))
    return Interpreter(str(path.absolute()), (version[0], version[1]), abi, base)


def choose(interpreters: Iterable[Interpreter], recipe: Recipe) -> Interpreter:
    """Return the interpreter for a recipe: its own minor version, else the nearest if that will do.

    Raise EnvironmentRefused if none will.
    """
    known = {interpreter.version: interpreter for interpreter in interpreters}
    if not known:
        raise EnvironmentRefused("This gateway has no Python that an environment can be made with.")
    wanted = _parse(recipe.python)
    if wanted is None:
        own = sys.version_info[:2]
        return known.get(own) or known[max(known)]
    if wanted in known:
        return known[wanted]
    if recipe.exact:
        raise EnvironmentRefused(_missing_text(recipe.python, known.values()))
    return known[min(known, key=lambda version: (abs(version[1] - wanted[1]), -version[1]))]


def _missing_text(python: str, known: Iterable[Interpreter]) -> str:
    have = ", ".join(interpreter.minor for interpreter in known)
    text = f"This version was logged with Python {python}, and has bytecode that no other runs"
    wanted = _parse(python)
    if wanted is not None and wanted < OLDEST:
        return (
            f"{text}; workers need Python {OLDEST[0]}.{OLDEST[1]} or newer. Log it again with one of those."
        )
    return f"{text}; this gateway has {have}. GATEWAY_PYTHONS can name more."


def _parse(minor: str) -> tuple[int, int] | None:
    if not minor:
        return None
    major, _, rest = minor.partition(".")
    return int(major), int(rest)


def _usual_places(environment: Mapping[str, str]) -> Iterator[Path]:
    for folder in map(Path, _FOLDERS):
        if folder.is_dir():
            yield from sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))
    home = environment.get("HOME", "")
    for variable, below_home, pattern in _PATTERNS:
        top = environment.get(variable) or (os.path.join(home, below_home) if home else "")  # noqa: PTH118 - may be empty
        if os.path.isabs(top):  # noqa: PTH117 - likewise
            yield from _newest_first(Path(top).glob(pattern))
    for pattern in _OTHERS:
        yield from _newest_first(Path("/").glob(pattern.lstrip("/")))


def _newest_first(paths: Iterable[Path]) -> list[Path]:
    """Return the paths, those with the highest numbers first: of 3.11.2 and 3.11.10, the latter counts."""
    return sorted(paths, key=lambda path: [int(part) for part in re.findall(r"\d+", str(path))], reverse=True)
