"""Serve; each gateway process sends SIGHUP to itself before its event loop runs."""

import os
import signal
import sys

from gateway import settings
from gateway.server import supervisor
from gateway.system import descriptors


def read() -> settings.Settings:
    """Read the settings of the environment."""
    return settings.load(os.environ)


if __name__ == "__main__":
    raise_fd_limit = descriptors.raise_fd_limit

    def hang_up() -> None:
        """Send the signal in the first step of a gateway process."""
        os.kill(os.getpid(), signal.SIGHUP)
        raise_fd_limit()

    descriptors.raise_fd_limit = hang_up
    sys.exit(supervisor.run(read(), announce=lambda address: print(address, flush=True), read_settings=read))
