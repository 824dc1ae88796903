"""Start, but block in the thread that opens the cache folder, as if its file server did not respond."""

import os
import sys
import threading
from typing import Any

from gateway import settings
from gateway.artifacts.storage import CacheDirectory
from gateway.concurrency.threads import in_thread
from gateway.server import supervisor


def stuck_in_here() -> None:
    """Block the thread for ever."""
    print("stuck", flush=True)
    threading.Event().wait()


def open_stuck(_: CacheDirectory) -> Any:
    """Replace the method that opens the cache folder."""
    return in_thread(stuck_in_here)


if __name__ == "__main__":
    CacheDirectory.open = open_stuck  # type: ignore[method-assign,assignment] # the fault
    sys.exit(supervisor.run(settings.load(os.environ)))
