"""What a version asks to have installed, and what of it is missing on this machine."""

from __future__ import annotations

import re
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion

_COMMENT = re.compile(r"(^|\s)#.*$")
_USER = re.compile(r"//[^/@\s]*@")


def parse(data: bytes) -> tuple[str, ...]:
    """The lines of a requirements.txt that name a package.

    Options are left out and credentials in addresses are cut, since an index's address often
    holds a password.
    """
    text = data.decode("utf-8", "replace").replace("\\\r\n", "").replace("\\\n", "")
    lines = (_COMMENT.sub("", line).strip() for line in text.splitlines())
    return tuple(
        _USER.sub("//", line.split(" --")[0].strip()) for line in lines if line and not line.startswith("-")
    )


def missing(requirements: tuple[str, ...]) -> tuple[str, ...]:
    """Those that what is installed here does not satisfy.

    One that is not for this platform counts as satisfied; one that is no requirement by name and
    version (a path, a repository) as missing, since nothing here tells. Reads the disk.
    """
    return tuple(line for line in requirements if not _satisfied(line))


def _satisfied(line: str) -> bool:
    try:
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate():
            return True
        return wanted.specifier.contains(metadata.version(wanted.name), prereleases=True)
    except (InvalidRequirement, InvalidVersion, metadata.PackageNotFoundError):
        return False
