"""Runs one program behind the wall's rules for files, and ends it and all that it starts with the gateway.

Usage: `python -P -m gateway.environments.confined`. It gets one JSON object on one line of standard input:
`"command"` has the program's path and arguments, `"environment"` its variables, `"read"` and `"write"` the
paths that it may use, `"wall"` the mode of the wall, and `"netrc"` the text of a netrc file. It writes the
line READY to standard output first, as soon as other processes of its user cannot read its memory. Standard
input stays open as long as the gateway waits: when it closes, the whole process group ends. The exit status
is that of the program, or 128 and the number of the signal that ended it.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.system.environment import prepare_for_secrets
from gateway.system.memory_files import MemoryFile
from workers.wall import support
from workers.wall.confine import confine
from workers.wall.policy import WallError, WallPolicy

READY = b"ready\n"
_MAX_DATA_BYTES = 4 * 2**30  # of each process: a package's metadata can be a small file of many gigabytes
_OOM_SCORE_ADJ = "1000"
NOT_CONFINED = 125
"""The exit status if the process cannot be confined; its standard error has the reason."""


def main() -> int:
    """Read the request, confine this process, run the program, and return its exit status."""
    prepare_for_secrets()
    os.write(1, READY)
    request: dict[str, Any] = json.loads(sys.stdin.readline())
    environment: dict[str, str] = request["environment"]
    netrc = MemoryFile(request["netrc"].encode()) if request["netrc"] else None
    if netrc is not None:
        environment["NETRC"] = netrc.path
    _limit_memory()
    try:
        _confine(request)
    except WallError as error:
        sys.stderr.write(f"{error}\n")
        return NOT_CONFINED
    descriptors = [int(netrc.path.rpartition("/")[2])] if netrc and netrc.path.startswith("/proc/") else []
    program = subprocess.Popen(  # noqa: S603 - uv, by its full path
        request["command"], env=environment, cwd="/", stdin=subprocess.DEVNULL, pass_fds=descriptors
    )
    threading.Thread(target=_end_with_gateway, daemon=True).start()
    status = program.wait()
    return status if status >= 0 else 128 - status


def _limit_memory() -> None:
    """Bound what each program may allocate; if memory runs out all the same, the kernel ends these first."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = _MAX_DATA_BYTES if hard == resource.RLIM_INFINITY else min(hard, _MAX_DATA_BYTES)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE_ADJ, encoding="ascii")


def _confine(request: dict[str, Any]) -> None:
    """Confine files alone: what installs packages must change modes, which the filter of calls forbids."""
    here = replace(support.detect(), seccomp=False)
    confine(WallPolicy(request["wall"]), read=request["read"], write=request["write"], here=here)


def _end_with_gateway() -> None:
    os.read(0, 1)
    if os.getpgrp() == os.getpid():  # with all that the program has started
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
