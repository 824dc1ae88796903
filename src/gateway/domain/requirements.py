"""Parses a version's requirements and finds those that are not installed on this machine."""

from __future__ import annotations

import re
import shlex
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

_COMMENT = re.compile(r"(^|\s)#.*$")
_MAX_LISTED = 10
_USERINFO = re.compile(r"//[^/@\s]*@")


def parse_requirements(data: bytes) -> tuple[str, ...]:
    """Return the lines of a requirements.txt that name a package.

    Leave out options and credentials in URLs, because an index URL often contains a password.
    """
    text = data.decode("utf-8-sig", "replace").replace("\\\r\n", "").replace("\\\n", "")
    lines = (_COMMENT.sub("", line).strip() for line in text.splitlines())
    return tuple(
        _USERINFO.sub("//", line.split(" --")[0].strip())
        for line in lines
        if line and not line.startswith("-")
    )


def find_missing(requirements: tuple[str, ...]) -> tuple[str, ...]:
    """Return the requirements that are not installed here, or not in a suitable version. Reads the disk.

    A pinned version is satisfied by any version with the same major number, because MLflow pins the exact
    versions of the machine that logged the model. A requirement for another platform counts as satisfied.
    One without name and version (a path, a repository) counts as missing, because it cannot be checked.
    """
    return tuple(line for line in requirements if not _is_satisfied(line))


def _is_satisfied(line: str) -> bool:
    try:
        required = Requirement(line)
        if required.marker is not None and not required.marker.evaluate():
            return True
        installed = metadata.version(required.name)
        return required.specifier.contains(installed, prereleases=True) or _has_same_major(
            required, installed
        )
    except (InvalidRequirement, InvalidVersion, metadata.PackageNotFoundError):
        return False


def _has_same_major(required: Requirement, installed: str) -> bool:
    pins = [clause.version for clause in required.specifier if clause.operator in {"==", "~="}]
    return len(pins) == len(required.specifier) == 1 and (
        Version(pins[0].removesuffix(".*")).major == Version(installed).major
    )


def install_hint(lines: tuple[str, ...]) -> str:
    """Return a hint for a model that fails to load while these of its requirements are missing."""
    if not lines:
        return ""
    first = lines[:_MAX_LISTED]
    more = f" and {len(lines) - _MAX_LISTED} more" if len(lines) > _MAX_LISTED else ""
    command = shlex.join(("pip", "install", *first))
    return f" Its requirements are not installed: {', '.join(first)}{more}; to install them: {command}"
