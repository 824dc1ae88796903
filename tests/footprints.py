"""What a gateway takes of the memory, by another reader than its own."""

from __future__ import annotations

import psutil


def taken(pid: int | None = None) -> int:
    """Bytes of PSS of a gateway's process (None: this one), of its template, and of all below that."""
    me = psutil.Process(pid)
    templates = [process for process in me.children() if "forkserver" in " ".join(_command(process))]
    below = [each for process in templates for each in [process, *process.children(recursive=True)]]
    return sum(_pss(process) for process in [me, *below])


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
