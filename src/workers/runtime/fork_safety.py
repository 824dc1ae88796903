"""Forks that fail in the template end one start; multiprocessing would end the template, and all workers."""

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

_DESCRIPTOR_VARIABLES: Final = ("child_r", "child_w")  # what the server's loop would close after a fork
_original_fork: Callable[[], int] = os.fork
_original_recvfds: Callable[..., list[int]] = reduction.recvfds


def patch_forkserver() -> None:
    """Let the fork server of this process go on where a start is broken off or no process can be had.

    CPython's loop goes on after ECONNABORTED alone, as if whoever asked had gone; the descriptors of that
    start are closed, which its asker meets as EOFError or EPIPE.
    """
    os.fork = _patched_fork
    reduction.recvfds = _patched_recvfds  # type: ignore[assignment] # it returns what the other returns


def _patched_fork() -> int:
    """`os.fork`, for the server's loop and for whatever a model forks by itself."""
    try:
        return _original_fork()
    except OSError as error:
        server = sys._getframe(1)  # noqa: SLF001 - the loop keeps the descriptors to itself
        if server.f_code is not forkserver.main.__code__:
            raise
        _close_all(_descriptors_of_start(server))
        _abort_start(error)


def _patched_recvfds(*args: Any) -> list[int]:
    """`reduction.recvfds`: who asks may be gone, or have had no descriptor left to send."""
    try:
        return _original_recvfds(*args)
    except (EOFError, RuntimeError, AssertionError) as error:
        if sys._getframe(1).f_code is not forkserver.main.__code__:  # noqa: SLF001 - as above
            raise
        _abort_start(error)


def _descriptors_of_start(server: FrameType) -> list[int]:
    names = server.f_locals
    return [*(names[name] for name in _DESCRIPTOR_VARIABLES), *names["fds"]]


def _close_all(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)


def _abort_start(error: Exception) -> NoReturn:
    raise ConnectionAbortedError(errno.ECONNABORTED, "A start was broken off.") from error
