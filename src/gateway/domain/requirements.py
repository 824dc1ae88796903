"""What a version asks to have installed, and what of it is missing on this machine."""

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
    """The lines of a requirements.txt that name a package.

    Options are left out and credentials in addresses are cut, since an index's address often
    holds a password.
    """
    text = data.decode("utf-8", "replace").replace("\\\r\n", "").replace("\\\n", "")
    lines = (_COMMENT.sub("", line).strip() for line in text.splitlines())
    return tuple(
        _USERINFO.sub("//", line.split(" --")[0].strip())
        for line in lines
        if line and not line.startswith("-")
    )


def find_missing(requirements: tuple[str, ...]) -> tuple[str, ...]:
    """Those that are not installed here, or not as the version wants them.

    A pinned version is satisfied by any of the same major number, since MLflow pins to the last
    digit whatever was there when the model was logged. One that is not for this platform counts as
    satisfied; one that is no requirement by name and version (a path, a repository) as missing,
    since nothing here tells. Reads the disk.
    """
    return tuple(line for line in requirements if not _is_satisfied(line))


def _is_satisfied(line: str) -> bool:
    try:
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate():
            return True
        installed = metadata.version(wanted.name)
        return wanted.specifier.contains(installed, prereleases=True) or _has_same_major(wanted, installed)
    except (InvalidRequirement, InvalidVersion, metadata.PackageNotFoundError):
        return False


def _has_same_major(wanted: Requirement, installed: str) -> bool:
    pins = [clause.version for clause in wanted.specifier if clause.operator in {"==", "~="}]
    return len(pins) == len(wanted.specifier) == 1 and (
        Version(pins[0].removesuffix(".*")).major == Version(installed).major
    )


def install_hint(lines: tuple[str, ...]) -> str:
    """What to say of a model that does not load where these of its requirements are missing."""
    if not lines:
        return ""
    first = lines[:_MAX_LISTED]
    more = f" and {len(lines) - _MAX_LISTED} more" if len(lines) > _MAX_LISTED else ""
    command = shlex.join(("pip", "install", *first))
    return f" Its requirements are not met here: {', '.join(first)}{more}; to install them: {command}"
