"""Report the state of the fork server from a process that it forks."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


def report(connection: Connection) -> None:
    """Send what a worker inherits from the fork server, before it imports anything of its own."""
    setup: Any = sys.modules.get("workers.runtime.preload.forkserver_setup")
    state = {
        "modules": sorted({name.partition(".")[0] for name in sys.modules}),
        "complete": bool(setup and setup.PreloadState.complete),
        "patched": os.fork.__module__,
        "group": os.getpgid(os.getppid()) == os.getppid(),
        "environment": dict(os.environ),
    }
    connection.send(state)
