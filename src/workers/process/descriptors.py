"""Descriptors of this process: whether enough are free, and waiting for one."""

from __future__ import annotations

import os
from contextlib import ExitStack
from multiprocessing.connection import wait
from typing import Final

_SPARE_PIPES: Final = 8  # of two descriptors each: more than the start of a process needs


def check_free_descriptors() -> None:
    """Raise OSError if fewer descriptors are free than a start needs, which would fail half-way."""
    with ExitStack() as spare:
        for _ in range(_SPARE_PIPES):
            for descriptor in os.pipe():
                spare.callback(os.close, descriptor)


def wait_readable(descriptor: int, seconds: float | None) -> bool:
    """Return whether a descriptor becomes readable in time. Blocks."""
    return bool(wait([descriptor], seconds))
