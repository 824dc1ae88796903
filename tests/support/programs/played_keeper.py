"""A keeper without Ray: it does what the namespace in its order says, and notes each start and its secrets.

The folder of the notes is the label of the order, in which a slash is `=`; nothing of this is Ray's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

FIRST = {"name": "a", "address": "192.0.2.1:7000", "alive": True}
SECOND = {"name": "b", "address": "192.0.2.2:7000", "alive": True}
STARTING = {"name": "c", "address": "192.0.2.3:7000", "alive": False}


def say(**line: object) -> None:
    """Write one line."""
    print(json.dumps(line), flush=True)


def end_with_stdin() -> None:
    """End like the real keeper."""
    while os.read(0, 4096):
        pass
    os._exit(0)


def main() -> None:
    """Behave as the order says."""
    order = json.loads(sys.stdin.buffer.readline())
    folder = Path(order["command"][-1])
    run = len(list(folder.glob("run-*")))
    threading.Thread(target=end_with_stdin, daemon=True).start()
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    note: dict[str, Any] = {"pid": os.getpid(), "child": child.pid, "order": order}
    note |= {"environment": dict(os.environ), "arguments": sys.argv}
    part = folder / f"part-{run}"
    part.write_text(json.dumps(note))
    part.rename(folder / f"run-{run}")
    behave(order["namespace"], run)
    while True:
        time.sleep(0.2)
        say(heartbeat=0.1)


def behave(behaviour: str, run: int) -> None:
    """Write what this behaviour has after its members."""
    say(members=[FIRST, SECOND, STARTING] if run == 0 else [SECOND])
    if run > 0:
        return
    if behaviour == "dies":
        sys.stderr.write("Ray is gone: redis://user:sesame@192.0.2.9/0\n")
        sys.exit(1)
    if behaviour == "hangs":
        time.sleep(600)
    if behaviour == "garbage":
        print("Traceback (most recent call last):", flush=True)
    if behaviour == "odd-members":
        say(members=[{"name": "a", "address": 7}])
    if behaviour == "deep":
        print("[" * 100_000, flush=True)
    if behaviour == "huge":
        print("x" * 3_000_000, flush=True)
    if behaviour == "warns":
        say(warning="one thing to change")
    if behaviour == "chatty":
        sys.stderr.write("log " * 500_000)


if __name__ == "__main__":
    main()
