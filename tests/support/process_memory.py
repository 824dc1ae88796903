"""What a gateway takes of the memory, by another reader than its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet


def taken(pid: int | None = None, *, without: AbstractSet[psutil.Process] = frozenset()) -> int:
    """Bytes of PSS of a gateway's process (None: this one), of its template, and of all below that.

    This process may have several gateways with one template: `without` are the workers of the others.
    """
    me = psutil.Process(pid)
    return sum(_pss(process) for process in {me, *_templates(me), *workers(pid)} - without)


def workers(pid: int | None = None) -> set[psutil.Process]:
    """All that runs below the template of a gateway's process (None: this one)."""
    return {each for template in _templates(psutil.Process(pid)) for each in _below(template)}


def _templates(process: psutil.Process) -> list[psutil.Process]:
    return [child for child in process.children() if "forkserver" in " ".join(_command(child))]


def _below(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def _pss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0
