"""Report the state of the fork server from a process that it forks."""

from __future__ import annotations

import os
import sys
from typing import Any


def report() -> dict[str, Any]:
    """Return what a worker inherits from the fork server, before it imports anything of its own."""
    setup: Any = sys.modules.get("workers.runtime.preload.setup")
    return {
        "modules": sorted({name.partition(".")[0] for name in sys.modules}),
        "complete": bool(setup and setup.PreloadState.complete),
        "group": os.getpgid(os.getppid()) == os.getppid(),
        "environment": dict(os.environ),
    }
