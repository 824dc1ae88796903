"""Patch multiprocessing's fork server so that a failed fork fails one start, and not the server.

Without the patch the server would end, and all workers with it.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from multiprocessing import forkserver, reduction
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

_DESCRIPTOR_VARIABLES: Final = ("child_r", "child_w")  # the server's loop closes these after a fork
_original_fork: Callable[[], int] = os.fork
_original_recvfds: Callable[..., list[int]] = reduction.recvfds


def patch_forkserver() -> None:
    """Make the fork server of this process continue if a client is gone or a fork fails.

    CPython's loop continues after ECONNABORTED alone, as if the client were gone. The descriptors of
    the start are closed, so its client gets EOFError or EPIPE.
    """
    os.fork = _patched_fork
    reduction.recvfds = _patched_recvfds  # type: ignore[assignment] # it returns what the other returns


def restore() -> None:
    """Undo the patch in a worker: model code and its libraries find the original functions."""
    os.fork = _original_fork
    reduction.recvfds = _original_recvfds


def _patched_fork() -> int:
    """Call `os.fork` for the server's loop."""
    try:
        return _original_fork()
    except OSError as error:
        server = sys._getframe(1)  # noqa: SLF001 - the loop passes the descriptors to no function
        if server.f_code is not forkserver.main.__code__:
            raise
        _close_all(_descriptors_of_start(server))
        _abort_start(error)


def _patched_recvfds(*args: Any) -> list[int]:
    """Call `reduction.recvfds`; its client may be gone, or had no descriptor left to send."""
    try:
        return _original_recvfds(*args)
    except (EOFError, RuntimeError, AssertionError) as error:
        if sys._getframe(1).f_code is not forkserver.main.__code__:  # noqa: SLF001 - as above
            raise
        _abort_start(error)


def _descriptors_of_start(server: FrameType) -> list[int]:
    variables = server.f_locals
    return [*(variables[name] for name in _DESCRIPTOR_VARIABLES), *variables["fds"]]


def _close_all(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)


def _abort_start(error: Exception) -> NoReturn:
    raise ConnectionAbortedError(errno.ECONNABORTED, "The start was aborted.") from error
