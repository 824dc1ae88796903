"""The problems of an access file, each with its line, and without any value that may be secret."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.auth.credentials import KEY_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MAX_PROBLEMS: Final = 100
_MAX_QUOTED: Final = 60  # characters
_MAX_TEXT: Final = 500
_MAX_NAMES: Final = 100
_KEY: Final = re.compile(rf"{KEY_PREFIX}\w+")
_LONG: Final = re.compile(r"(?=[\w+=-]*[0-9])(?=[\w+=-]*[A-Za-z])[\w+=-]{32,}")


class AccessFileError(Exception):
    """An access file that cannot be used; `problems` has a line for each of its problems."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """What is wrong in one line, and what would be right."""

    line: int
    text: str

    def __str__(self) -> str:
        """Return the form that an operator reads."""
        return f"line {self.line}: {self.text}"


class Problems:
    """A collector of all problems of one file. Warnings are what does not make the file unusable."""

    def __init__(self) -> None:
        self._errors: list[Problem] = []
        self._warnings: list[Problem] = []

    def add(self, line: int, text: str) -> None:
        """Add a problem; what of its text may be secret is hidden."""
        self._errors.append(Problem(line, hide_secrets(text)))

    def warn(self, line: int, text: str) -> None:
        """Add a warning."""
        self._warnings.append(Problem(line, hide_secrets(text)))

    @property
    def count(self) -> int:
        """The number of problems so far, without warnings."""
        return len(self._errors)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings in the order of their lines."""
        return tuple(map(str, sorted(self._warnings)))

    def raise_if_any(self) -> None:
        """Raise AccessFileError with all problems in the order of their lines."""
        if not self._errors:
            return
        lines = [str(problem) for problem in sorted(set(self._errors))]
        more = len(lines) - _MAX_PROBLEMS
        raise AccessFileError(lines[:_MAX_PROBLEMS] + ([f"and {more} more problems"] if more > 0 else []))


def quote(text: str) -> str:
    """Return a text of the file in quotation marks, shortened."""
    return repr(text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}…")


def hide_secrets(text: str) -> str:
    """Return the text, shortened, with `…` in place of keys and of what is as long and random as a hash."""
    shown = text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"
    return _LONG.sub("…", _KEY.sub(f"{KEY_PREFIX}…", shown))


def suggest(name: str, known: Iterable[str]) -> str:
    """Return the known name that may be meant, as a question, or all of them if they are few."""
    names = sorted(known)
    if len(names) > _MAX_NAMES:  # to compare all would take minutes in a file with many such problems
        return f"there are {len(names)} others"
    if similar := difflib.get_close_matches(name, names, n=1):
        return f"is {similar[0]} meant?"
    return f"there are {', '.join(names)}" if names else "there are none"
