"""Parses a version's requirements and finds those that are not installed on this machine."""

from __future__ import annotations

import re
import shlex
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_LINES: Final = 2_000
MAX_BYTES: Final = 64 * 1024
_MAX_LINE_CHARS: Final = 1_000  # that are checked; a longer line counts as missing
_BYTES_PER_LINE: Final = 64

_COMMENT = re.compile(r"(^|\s)#.*$")
_MAX_LISTED = 10
# Invalid requirements and versions, and numbers of thousands of digits, are ValueErrors.
_UNCHECKABLE = (ValueError, RecursionError, UndefinedComparison, UndefinedEnvironmentName)
_NAME = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
_MLFLOW_NAMES: Final = frozenset({"mlflow", "mlflow-skinny", "mlflow-tracing"})
_USERINFO = re.compile(r"//[^/@\s]*@")


@dataclass(frozen=True, slots=True)
class Requirements:
    """The lines of a requirements.txt that name a package; `truncated` if the file has more."""

    lines: tuple[str, ...] = ()
    truncated: bool = False

    @property
    def size_bytes(self) -> int:
        """The approximate bytes of memory that they take."""
        return sum(_BYTES_PER_LINE + len(line) for line in self.lines) + _BYTES_PER_LINE


def parse_requirements(data: bytes) -> Requirements:
    """Return the lines of a requirements.txt that name a package: the first 2,000, of the first 64 KiB.

    Leave out options and credentials in URLs, because an index URL often contains a password.
    """
    lines, truncated = logical_lines(data)
    named = [_USERINFO.sub("//", line.split(" --")[0].strip()) for line in lines if not line.startswith("-")]
    return Requirements(tuple(named[:MAX_LINES]), truncated or len(named) > MAX_LINES)


def logical_lines(data: bytes) -> tuple[list[str], bool]:
    """Return the lines of the first 64 KiB of a requirements.txt, without comments, and if it has more.

    Lines that a backslash continues are joined, and empty ones left out.
    """
    truncated = len(data) > MAX_BYTES
    if truncated:
        data = data[: data.rfind(b"\n", 0, MAX_BYTES) + 1]
    text = data.decode("utf-8-sig", "replace").replace("\\\r\n", "").replace("\\\n", "")
    lines = (_COMMENT.sub("", line).strip() for line in text.splitlines())
    return [line for line in lines if line], truncated


class InstalledPackages:
    """The names and versions of the packages of this machine, read again after one was installed or removed.

    Not safe for several threads at once.
    """

    def __init__(self) -> None:
        self._read_at: tuple[tuple[str, int], ...] = ()
        self._versions: Mapping[str, str] = {}

    def versions(self) -> Mapping[str, str]:
        """Return the versions by normalized name; the same object as long as no package changed."""
        folders = _folder_times()
        if folders != self._read_at:
            self._versions, self._read_at = _read_installed(), folders
        return self._versions


def _folder_times() -> tuple[tuple[str, int], ...]:
    """Return when an entry was last added to or removed from each folder that packages come from."""
    times: dict[str, int] = {}
    for folder in sys.path:
        with suppress(OSError):
            times[folder] = Path(folder).stat().st_mtime_ns
    return tuple(times.items())


def _read_installed() -> dict[str, str]:
    versions: dict[str, str] = {}
    for package in metadata.distributions():
        # Of a package that is installed twice, or in part, what comes first on the path counts.
        with suppress(KeyError, TypeError, AttributeError, OSError):
            versions.setdefault(canonicalize_name(package.metadata["Name"]), str(package.version))
    return versions


def find_missing(requirements: tuple[str, ...], installed: Mapping[str, str]) -> tuple[str, ...]:
    """Return the requirements that are not installed here, or not in a suitable version.

    A pinned version is satisfied by any version with the same major number, because MLflow pins the exact
    versions of the machine that logged the model. A requirement for another platform counts as satisfied.
    One without name and version (a path, a repository) counts as missing, because it cannot be checked.
    """
    return tuple(line for line in requirements if not _is_satisfied(line, installed))


def find_differing(requirements: Iterable[str], installed: Mapping[str, str]) -> tuple[str, ...]:
    """Return the requirements that are not installed here, or not in the same major.minor version.

    A library's minor version may read the pickles of another wrongly, without an error. MLflow itself is
    left out: workers always have the gateway's.
    """
    return tuple(
        line for line in requirements if not (is_mlflow(line) or _is_satisfied(line, installed, parts=2))
    )


def is_mlflow(line: str) -> bool:
    """Return whether a requirement names MLflow, or one of the packages that it consists of."""
    found = _NAME.match(line)
    return found is not None and canonicalize_name(found[0]) in _MLFLOW_NAMES


def _is_satisfied(line: str, installed: Mapping[str, str], *, parts: int = 1) -> bool:
    """Return whether a suitable version is installed: of a pinned one, the first `parts` numbers count."""
    if len(line) > _MAX_LINE_CHARS:
        return False
    try:
        required = Requirement(line)
        if required.marker is not None and not required.marker.evaluate():
            return True
        version = installed.get(canonicalize_name(required.name))
        return version is not None and (
            required.specifier.contains(version, prereleases=True)
            or _is_close(required, version, parts=parts)
        )
    except _UNCHECKABLE:
        return False


def _is_close(required: Requirement, installed: str, *, parts: int) -> bool:
    pins = [clause.version for clause in required.specifier if clause.operator in {"==", "~="}]
    if not len(pins) == len(required.specifier) == 1:
        return False
    return _release(pins[0].removesuffix(".*"), parts) == _release(installed, parts)


def _release(version: str, parts: int) -> tuple[int, ...]:
    numbers = Version(version).release[:parts]
    return numbers + (0,) * (parts - len(numbers))


def install_hint(lines: tuple[str, ...], *, truncated: bool = False) -> str:
    """Return a hint for a model that fails to load while these of its requirements are missing.

    `truncated` says that the version has more requirements, which were not checked.
    """
    note = " Its requirements.txt is too long to be checked as a whole." if truncated else ""
    if not lines:
        return note
    first = lines[:_MAX_LISTED]
    more = f" and {len(lines) - _MAX_LISTED} more" if len(lines) > _MAX_LISTED else ""
    command = shlex.join(("pip", "install", *first))
    return f"{note} Its requirements are not installed: {', '.join(first)}{more}; to install them: {command}"
