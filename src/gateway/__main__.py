"""`python -m gateway` and the console command; it imports little, because each worker imports it again."""

from __future__ import annotations

import signal
import sys
from typing import NoReturn


def main() -> int:
    """Run the command that the arguments name, and return its exit status."""
    signal.signal(signal.SIGTERM, _exit)  # the first process of a container ignores it without a handler
    # A worker must not import what it never runs.
    from gateway.system.environment import disable_process_inspection  # noqa: PLC0415  # as above

    disable_process_inspection()  # before the longer imports: the environment has secrets
    from gateway.cli.main import main as command  # noqa: PLC0415  # as above

    return command(sys.argv[1:])


def _exit(*_: object) -> NoReturn:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
