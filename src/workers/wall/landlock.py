"""Landlock: the kernel's own confinement of files, signals and other processes for every user.

https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from enum import IntFlag
from typing import Final

from workers.wall import kernel

_CREATE_RULESET: Final = 444  # these three numbers are the same on every machine
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_CREATE_RULESET_VERSION: Final = 1
_RULE_PATH_BENEATH: Final = 1
_LOG_SAME_EXEC_OFF: Final = 1  # a model could flood the kernel's audit log
_RULE_NET_PORT: Final = 2
_BIND_TCP, _CONNECT_TCP = 1, 2
_ANY_FREE_PORT: Final = 0
_SCOPES: Final = 3  # abstract Unix sockets and signals

TCP_ABI: Final = 4
SCOPE_ABI: Final = 6
_LOG_ABI: Final = 7
UNIX_SOCKET_ABI: Final = 9
"""The first interfaces that limit TCP, signals, and sockets in the file system."""


class Access(IntFlag):
    """A set of rights on a file, or on a folder and all that is below it."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15
    RESOLVE_UNIX = 1 << 16


# As integers: operations on flags are slow, and each worker makes hundreds.
READ: Final = int(Access.EXECUTE | Access.READ_FILE | Access.READ_DIR)
LIST: Final = int(Access.READ_DIR)
USE_DEVICE: Final = int(Access.READ_FILE | Access.READ_DIR | Access.WRITE_FILE | Access.IOCTL_DEV)
USE_SHARED_MEMORY: Final = int(
    Access.READ_FILE | Access.WRITE_FILE | Access.MAKE_REG | Access.REMOVE_FILE | Access.TRUNCATE
)
WRITE: Final = int(
    READ
    | Access.WRITE_FILE
    | Access.REMOVE_DIR
    | Access.REMOVE_FILE
    | Access.MAKE_DIR
    | Access.MAKE_REG
    | Access.MAKE_SOCK
    | Access.MAKE_FIFO
    | Access.MAKE_SYM
    | Access.REFER
    | Access.TRUNCATE
)
_OF_FILES: Final = int(
    Access.EXECUTE
    | Access.WRITE_FILE
    | Access.READ_FILE
    | Access.TRUNCATE
    | Access.IOCTL_DEV
    | Access.RESOLVE_UNIX
)


def abi() -> int:
    """Return the version of the kernel's interface; 0 if there is none, or if it is switched off."""
    try:
        return kernel.call(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    except OSError:
        return 0


def is_forbidden_here() -> bool:
    """Return whether not the kernel, but the rules of a container forbid Landlock."""
    try:
        kernel.call(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    except OSError as error:
        return error.errno in {errno.EPERM, errno.EACCES}
    return False


def handled_access(version: int) -> int:
    """Return the rights on files that a ruleset of this version can take away."""
    bits = {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16 if version < UNIX_SOCKET_ABI else 17)
    return (1 << bits) - 1


class Ruleset:
    """A set of rules under construction: what it does not allow is denied once the process is restricted."""

    def __init__(self, version: int, *, network: bool) -> None:
        """Create a ruleset of the interface `version`; without `network` it allows no TCP either.

        With it, a free port of the kernel's choice can be bound. A named port cannot: one that the gateway
        shares among its processes would bring the model a part of other clients' requests.
        """
        self._version = version
        self._handled = handled_access(version)
        tcp = _BIND_TCP if network else _BIND_TCP | _CONNECT_TCP
        scopes = _SCOPES if version >= SCOPE_ABI else 0
        attributes = struct.pack("<QQQ", self._handled, tcp if version >= TCP_ABI else 0, scopes)
        size = 8 if version < TCP_ABI else 16 if version < SCOPE_ABI else 24
        self._descriptor = kernel.call(_CREATE_RULESET, attributes, size, 0)
        if network and version >= TCP_ABI:
            rule = struct.pack("=QQ", _BIND_TCP, _ANY_FREE_PORT)
            kernel.call(_ADD_RULE, self._descriptor, _RULE_NET_PORT, rule, 0)

    def allow(self, path: str, access: int) -> None:
        """Allow `access` to `path` and to what is below it. Raises OSError if there is no such path."""
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            access &= self._handled
            if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                access &= _OF_FILES
            if access:
                rule = struct.pack("=Qi", access, descriptor)
                kernel.call(_ADD_RULE, self._descriptor, _RULE_PATH_BENEATH, rule, 0)
        finally:
            os.close(descriptor)

    def restrict_self(self) -> None:
        """Confine this thread and all that it starts from now on, for good."""
        flags = _LOG_SAME_EXEC_OFF if self._version >= _LOG_ABI else 0
        kernel.call(_RESTRICT_SELF, self._descriptor, flags)

    def close(self) -> None:
        """Free the ruleset; a process that is restricted by it stays so."""
        os.close(self._descriptor)
