"""Files that other users cannot have written, and that are not where programs put temporary files."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_BYTES: Final = 2**20
_ROOT: Final = 0
_UNMAPPED: Final = 65534  # whom a user namespace shows as the owner of what belongs to none of its users


class UntrustedFileError(Exception):
    """A file that another user, or a model, may have written; the text has the reason and the fix."""


def read_trusted_file(
    path: Path, *, allow_temporary: bool = True, private: bool = False, max_bytes: int = _MAX_BYTES
) -> bytes:
    """Return the content of `path`; raise UntrustedFileError if others could have written it.

    The file and its folder must belong to this process' user or to root. No other user may be able to write
    the file, or to replace it in its folder or any folder above. The folder must not be the one for temporary
    files, or below it unless `allow_temporary`. If `private`, no other user may be able to read the file
    either. What is mounted read-only is trusted. Raise OSError if the file cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not block
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if reason := _file_problem(descriptor, status) or _place_problem(path, allow_temporary):
            raise UntrustedFileError(reason)
        if private and not is_read_only(descriptor) and _others_read(status):
            raise UntrustedFileError("other users can read it: chmod 600")
        content = _read(descriptor, max_bytes + 1)
    finally:
        os.close(descriptor)
    if len(content) > max_bytes:
        raise UntrustedFileError(f"it has more than {max_bytes} bytes")
    return content


def check_trusted_folder(folder: Path) -> None:
    """Raise UntrustedFileError if another user can write to `folder` or replace it, or if it is temporary."""
    if reason := _folder_problem(folder.resolve(), allow_temporary=False):
        raise UntrustedFileError(reason)


def _read(descriptor: int, most: int) -> bytes:
    """Read to the end, or until there are `most` bytes; some file systems give less at once."""
    parts, length = [], 0
    while length < most and (part := os.read(descriptor, most - length)):
        parts.append(part)
        length += len(part)
    return b"".join(parts)


def _file_problem(descriptor: int, status: os.stat_result) -> str | None:
    if not stat.S_ISREG(status.st_mode):
        return "it is not a regular file"
    if is_read_only(descriptor):
        return None
    if status.st_uid not in {_ROOT, os.geteuid()}:
        return f"it belongs to another user (uid {status.st_uid}): make this user or root its owner"
    if _others_write(status):
        return "other users can write it: chmod go-w"
    return None


def _place_problem(path: Path, allow_temporary: bool) -> str | None:
    """Return what is wrong with the folder that the path names, or with the one that links lead to."""
    for folder in dict.fromkeys((path.parent.resolve(), path.resolve().parent)):
        if reason := _folder_problem(folder, allow_temporary=allow_temporary):
            return reason
    return None


def _folder_problem(folder: Path, *, allow_temporary: bool) -> str | None:
    if is_read_only(folder):
        return None
    temporary = Path(tempfile.gettempdir()).resolve()
    if folder == temporary or (not allow_temporary and folder.is_relative_to(temporary)):
        return f"{folder} is for temporary files, which models write too: move it"
    return next(_folder_problems(folder), None)


def _folder_problems(folder: Path) -> Iterator[str]:
    """Yield why the content of `folder` may come from another user."""
    for each in (folder, *folder.parents):
        if is_read_only(each):
            return
        status = each.stat()
        owners = {_ROOT, os.geteuid()} if each == folder else {_ROOT, os.geteuid(), _UNMAPPED}
        if status.st_uid not in owners:
            yield f"its folder {each} belongs to another user (uid {status.st_uid})"
        # In a folder with the sticky bit, other users can create entries, but not replace those of this user.
        if _others_write(status) and (each == folder or not status.st_mode & stat.S_ISVTX):
            yield f"other users can write to its folder {each}"


def is_read_only(place: Path | int) -> bool:
    """Return whether the file system of a path or a descriptor is mounted read-only."""
    return bool(os.statvfs(place).f_flag & os.ST_RDONLY)


def _others_write(status: os.stat_result) -> bool:
    """Return whether another user may write; a group that has this user's name, and no more members, may."""
    if status.st_mode & stat.S_IWOTH:
        return True
    return bool(status.st_mode & stat.S_IWGRP) and not _is_private_group(status.st_gid)


def _others_read(status: os.stat_result) -> bool:
    """Return whether another user may read.

    The group of root's file may, if this process runs as another user: it has no other way to read it. So may
    a private group.
    """
    if status.st_mode & stat.S_IROTH:
        return True
    by_group = status.st_uid == _ROOT != os.geteuid()
    return bool(status.st_mode & stat.S_IRGRP) and not by_group and not _is_private_group(status.st_gid)


def _is_private_group(group: int) -> bool:
    """Return whether the system made this group for this process' user alone, as many do (umask 002)."""
    with suppress(ImportError, KeyError):
        import grp  # noqa: PLC0415 - rarely needed, and looks up names of users
        import pwd  # noqa: PLC0415 - as above

        name, entry = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(group)
        return entry.gr_name == name and not set(entry.gr_mem) - {name}
    return False
