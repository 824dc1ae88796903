"""Copies of wheels that versions bring along, at paths that do not depend on the version."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from typing import TYPE_CHECKING, Final

from gateway.artifacts import folders
from gateway.artifacts.stores.base import digest_file, safe_join
from gateway.errors import EnvironmentRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_MAX_METADATA_BYTES: Final = 2**20  # uv holds it in memory
_MAX_UNPACKED_BYTES: Final = 8 * 2**30
_MAX_FILES: Final = 100_000
_KEPT_SECONDS: Final = 24 * 3600.0  # much longer than any build takes
# An installer would take a line that begins with anything else for an option.
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._]*[A-Za-z0-9])?(-[A-Za-z0-9._+!]+){4,5}\.whl", re.ASCII)
_METADATA: Final = (".dist-info/metadata", ".egg-info/pkg-info")
_UNREADABLE: Final = (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError)


@dataclass(frozen=True, slots=True)
class StagedWheels:
    """The SHA-256 of each wheel by its path in the version's folder, and where the copies are."""

    digests: Mapping[str, str]
    files: tuple[Path, ...]


def stage(paths: Iterable[str], *, version: Path, target: Path) -> StagedWheels:
    """Copy a version's wheels to `target`, each below its digest.

    Raise EnvironmentRefused if one is absent, or asks for more than names and versions of packages.
    `version` is the folder with the version's files.
    """
    digests: dict[str, str] = {}
    files = []
    for path in paths:
        source = safe_join(version, path)
        if not source.is_file() or source.is_symlink():
            raise EnvironmentRefused(
                f"The wheel {path!r} of this version's requirements is not in its folder."
            )
        _check(source, path)
        digests[path] = digest_file(source)
        files.append(_copy(source, target / digests[path]))
    return StagedWheels(digests, tuple(files))


def _check(wheel: Path, path: str) -> None:
    """Raise EnvironmentRefused for a wheel that needs a package from an address, or that is no wheel."""
    if not _NAME.fullmatch(wheel.name):
        raise EnvironmentRefused(f"The wheel {path!r} of this version has a name that no wheel has.")
    try:
        with zipfile.ZipFile(wheel) as archive:
            entries = archive.infolist()
            needs = [need for entry in entries for need in _needs(archive, entry)]
    except _UNREADABLE as error:
        raise EnvironmentRefused(f"The wheel {path!r} of this version cannot be read.") from error
    if len(entries) > _MAX_FILES or sum(entry.file_size for entry in entries) > _MAX_UNPACKED_BYTES:
        raise EnvironmentRefused(
            f"The wheel {path!r} of this version has more than {_MAX_FILES} files or"
            f" {_MAX_UNPACKED_BYTES} bytes."
        )
    if any("@" in need for need in needs):
        raise EnvironmentRefused(
            f"The wheel {path!r} of this version needs a package from an address, but packages come from the"
            " operator's index alone."
        )


def _needs(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> list[str]:
    """Return the requirements in an entry of a wheel, if it is the one that has them."""
    if not entry.filename.lower().endswith(_METADATA):
        return []
    with archive.open(entry) as file:
        data = file.read(_MAX_METADATA_BYTES + 1)
    if len(data) > _MAX_METADATA_BYTES:
        raise ValueError("its metadata is too large")
    return [str(need) for need in BytesHeaderParser().parsebytes(data).get_all("Requires-Dist", [])]


def _copy(source: Path, folder: Path) -> Path:
    """Copy the file as a whole or not at all, unless it is there."""
    copy = folder / source.name
    if not copy.exists():
        folder.mkdir(mode=0o700, exist_ok=True)
        partial = folder / f".{secrets.token_hex(8)}"
        shutil.copyfile(source, partial)
        os.replace(partial, copy)  # noqa: PTH105 - atomic also if another process was first
    os.utime(folder)
    return copy


def remove_unused(folder: Path, partials: Path) -> None:
    """Remove the copies that no version was prepared with for a day; they are made again when one is."""
    for each in list(folder.iterdir()):
        with suppress(FileNotFoundError):
            if each.stat().st_mtime < time.time() - _KEPT_SECONDS:
                folders.discard(each, partials)
