"""Measure the memory of a gateway with psutil, independently of the gateway's own code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet


def taken(
    pid: int | None = None,
    *,
    fork_server: int | None = None,
    without: AbstractSet[psutil.Process] = frozenset(),
) -> int:
    """Return the bytes of PSS of a gateway's process (None: this one), its fork server and its workers.

    The process of the tests may have several fork servers, and several gateways that share one: `fork_server`
    is the one that counts, `without` are workers of other gateways.
    """
    me = psutil.Process(pid)
    servers = _fork_servers(me) if fork_server is None else [psutil.Process(fork_server)]
    counted = {me, *servers, *(each for server in servers for each in _below(server))}
    return sum(_pss(process) for process in counted - without)


def pss(pid: int) -> int:
    """Return the bytes of one process: its own, and of those that it shares, its share."""
    return int(psutil.Process(pid).memory_full_info().pss)


def anonymous(pid: int) -> int:
    """Return the bytes of a process that are of no file, so that no other program can share them."""
    (line,) = (
        line
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
        if line.startswith("Anonymous:")
    )
    return int(line.split()[1]) * 1024


def workers(pid: int | None = None) -> set[psutil.Process]:
    """Return all processes below the fork server of a gateway's process (None: this one)."""
    return {each for fork_server in _fork_servers(psutil.Process(pid)) for each in _below(fork_server)}


def _fork_servers(process: psutil.Process) -> list[psutil.Process]:
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
