"""Run a node with the settings of the environment, and print its address on standard output."""

import os
import sys

from gateway import settings
from gateway.cli.node import run_node

if __name__ == "__main__":
    try:
        status = run_node(
            settings.load(os.environ),
            read_settings=lambda: settings.load(os.environ),
            announce=lambda address: print(address, flush=True),
        )
    except settings.SettingsError as error:
        sys.exit(str(error))
    sys.exit(status)
