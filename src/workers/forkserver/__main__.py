"""The program: `python …/workers/forkserver DESCRIPTOR`, its end of the socket pair."""

import os
import sys

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120 - nothing may be imported before the next lines

if __name__ == "__main__":
    # Instead of this folder, whose modules would hide others: where the package is, behind all else.
    sys.path = [path for path in sys.path[1:] if path != _ROOT] + [_ROOT]
    from workers.forkserver.server import run

    run(int(sys.argv[1]))
