"""`python -m gateway` and the console command; kept bare, since each worker process imports it again."""

from __future__ import annotations

import signal
import sys
from typing import NoReturn


def main() -> int:
    """Run the command that the arguments name; the exit status."""
    signal.signal(signal.SIGTERM, _leave)  # a container's first process ignores it until somebody listens
    from gateway.cli.main import main as command  # noqa: PLC0415  # a worker must not import what it never runs

    return command(sys.argv[1:])


def _leave(*_: object) -> NoReturn:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
