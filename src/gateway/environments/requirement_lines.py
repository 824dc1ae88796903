"""Reads a version's requirements strictly: plain requirements pass, all else is refused with its line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement

from gateway.domain.requirements import MAX_LINES, is_mlflow, logical_lines
from gateway.errors import EnvironmentRefused

_MAX_CHARS: Final = 1_000
_MAX_QUOTED_CHARS: Final = 100
_WHEEL: Final = re.compile(
    r"(?:\./)?((?:[A-Za-z0-9_][A-Za-z0-9_.+-]*/)*[A-Za-z0-9_][A-Za-z0-9_.+-]*\.whl)", re.ASCII
)
_ARCHIVE: Final = re.compile(r"\.(?:whl|zip|tar|t?[gbx]z2?|tar\.\w+|tlz|egg)$", re.IGNORECASE | re.ASCII)
_PRINTABLE: Final = re.compile(r"[ -~]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class RequirementLines:
    """Requirements by name, without MLflow itself, and the paths of wheels in the version's own folder."""

    plain: tuple[str, ...] = ()
    wheels: tuple[str, ...] = ()


def parse_strictly(data: bytes, *, file: str) -> RequirementLines:
    """Return what the requirements file with this content asks for.

    Raise EnvironmentRefused, with the line, for an option, an address, a repository, a path that is not a
    wheel in the version's own folder, or what is no requirement at all.
    """
    lines, truncated = logical_lines(data)
    if truncated or len(lines) > MAX_LINES:
        raise EnvironmentRefused(f"{file} is too long for an environment of its own.")
    return collect(lines, file=file)


def collect(lines: list[str], *, file: str) -> RequirementLines:
    """Return what these lines ask for; raise EnvironmentRefused as `parse_strictly` does."""
    plain: dict[str, None] = {}
    wheels: dict[str, None] = {}
    for line in lines:
        wheel = _WHEEL.fullmatch(line) if len(line) <= _MAX_CHARS else None
        if wheel is not None:
            wheels[wheel[1]] = None
        elif not is_mlflow(requirement := _plain(line, file=file)):
            plain[requirement] = None
    kept = {path: None for path in wheels if not is_mlflow(path.rpartition("/")[2].split("-")[0])}
    return RequirementLines(tuple(plain), tuple(kept))


def _plain(line: str, *, file: str) -> str:
    """Return the requirement in its normal form, which is on one line and begins with the package's name."""
    if len(line) > _MAX_CHARS or not _PRINTABLE.fullmatch(line):
        raise _refused(line, file, why="is too long or has characters that no requirement has")
    if line.startswith("-"):
        raise _refused(line, file, why="is an option, and the operator alone chooses those")
    try:
        requirement = Requirement(line)
    except (InvalidRequirement, ValueError, RecursionError) as error:
        why = "is a path or no requirement" if "/" in line or "\\" in line else "is no requirement"
        raise _refused(line, file, why=why) from error
    if requirement.url is not None:
        raise _refused(line, file, why="names an address, but packages come from the operator's index alone")
    if _ARCHIVE.search(requirement.name):  # installers take such a name for a file
        raise _refused(line, file, why="is a path")
    return str(requirement)


def _refused(line: str, file: str, *, why: str) -> EnvironmentRefused:
    return EnvironmentRefused(
        f"No environment can be made for this version: {_quote(line)} in its {file} {why}."
    )


def _quote(line: str) -> str:
    """Return the line for a client, short and without what may be a password: what follows an option too."""
    text = re.sub(r"//\S*", "//…", line)
    if text.startswith("-"):
        text = re.split(r"[\s=]", text, maxsplit=1)[0]
    text = "".join(char if " " <= char <= "~" or char == "…" else "?" for char in text)
    return repr(text[:_MAX_QUOTED_CHARS] + ("…" if len(text) > _MAX_QUOTED_CHARS else ""))
