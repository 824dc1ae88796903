"""Serve; on SIGUSR2 the main thread, which runs the event loop, sleeps for an hour.

HANG_SECONDS is how long the event loop may hang in one of several processes; a single one has twice that.
"""

import os
import signal
import sys
import time

from gateway import settings
from gateway.server import supervisor


def hang_in_here(*_: object) -> None:
    """Block the event loop."""
    time.sleep(3600)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR2, hang_in_here)
    sys.exit(
        supervisor.run(
            settings.load(os.environ),
            announce=lambda address: print(address, flush=True),
            hang_seconds=float(os.environ["HANG_SECONDS"]),
        )
    )
