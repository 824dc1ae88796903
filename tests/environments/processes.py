"""The processes of environments that run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.commands import descendants

if TYPE_CHECKING:
    from tests.support.gateway_process import Process


def processes_in(process: Process, digest: str) -> set[int]:
    """Return the fork server of an environment and its workers: all that run its interpreter."""
    found = set()
    for pid in descendants(process.pid):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if f"/environments/{digest}/".encode() in command.split(b"\0")[0]:
            found.add(pid)
    return found
