"""Serve with the settings of the environment, and print the address on standard output."""

import os
import sys

from gateway import settings
from gateway.server import supervisor

if __name__ == "__main__":
    sys.exit(
        supervisor.run(
            settings.load(os.environ),
            announce=lambda address: print(address, flush=True),
            read_settings=lambda: settings.load(os.environ),
        )
    )
