"""Call the kernel: system calls that Python has no function for."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from typing import Any, Final

_libc: Final = ctypes.CDLL(None, use_errno=True)
_PR_SET_NO_NEW_PRIVS: Final = 38
_CAPABILITY_HEADER: Final = struct.pack("<II", 0x20080522, 0)  # version 3, this process
_NO_CAPABILITIES: Final = bytes(24)


def call(number: int, *arguments: Any) -> int:
    """Make the system call `number`, and return its result. Raises OSError."""
    result: int = _libc.syscall(number, *arguments)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def forbid_new_privileges() -> None:
    """Make every later program of this process run without setuid bits and file capabilities."""
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def drop_capabilities() -> None:
    """Give up the capabilities that a process of root has; others have none to lose."""
    if _libc.capset(_CAPABILITY_HEADER, _NO_CAPABILITIES):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def machine() -> str:
    """Return the machine by the kernel's name; a 32-bit Python has none of the machines here."""
    return os.uname().machine if sys.maxsize > 2**32 else "32-bit"
