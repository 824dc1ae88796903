"""Serve, but exit after one second in which no worker process can be started."""

import functools
import os
import sys

from gateway import app, settings
from gateway.server import supervisor
from gateway.serving.worker_health import WorkerHealth

if __name__ == "__main__":
    app.WorkerHealth = functools.partial(WorkerHealth, fatal_after=1)  # type: ignore[attr-defined,assignment] # the fault
    sys.exit(supervisor.run(settings.load(os.environ), announce=lambda address: print(address, flush=True)))
