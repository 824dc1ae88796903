"""Run a piece of code in this process, confined as standard input says, and print how it went as JSON."""

from __future__ import annotations

import ctypes
import errno
import importlib
import json
import os
import signal
import sys
import threading
import traceback
from typing import Any


def main() -> None:
    """Read the tasks, run each in a child of this process, and print their outcomes."""
    tasks = json.load(sys.stdin)
    if any(task["wall"] for task in tasks):  # as in the process that workers are forked from
        importlib.import_module("workers.wall.confine").prepare()
    for task in tasks:
        print(json.dumps(in_child(task)), file=sys.__stdout__, flush=True)


def in_child(task: dict[str, Any]) -> dict[str, Any]:
    """Run one task in a child, which is confined if the task says so, and return its outcome."""
    reader, writer = os.pipe()
    if not (child := os.fork()):
        os.close(reader)
        os.setsid()
        own = os.getpid()
        outcome = outcome_of(task)
        if os.getpid() == own:  # and not a child of the code, which failed there
            with os.fdopen(writer, "w") as answer:
                json.dump(outcome, answer, default=str)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        ended = threading.Timer(task["seconds"], os.killpg, [child, signal.SIGKILL])
        ended.start()
        text = answer.read()
        ended.cancel()
        ended.join()
    status = os.waitpid(child, 0)[1]
    nothing = {"value": None, "error": f"ended with status {status}", "text": ""}
    found: dict[str, Any] = json.loads(text) if text else nothing
    return found


def outcome_of(task: dict[str, Any]) -> dict[str, Any]:
    """Run one task in this process."""
    os.environ.update(task["environment"])
    os.chdir(task["working"])
    try:
        for statement in task["before"]:
            exec(statement, {})  # noqa: S102 - of the test
        if task["wall"] is not None:
            confine(**task["wall"])
        scope: dict[str, Any] = {"call": call, **task["names"]}
        body = "\n".join(f"    {line}" for line in task["code"].splitlines())
        exec(f"def attack():\n{body}", scope)  # noqa: S102 - of the test
        return {"value": scope["attack"](), "error": None, "text": ""}
    except BaseException as error:  # noqa: BLE001 - the outcome is what the test looks at
        number = getattr(error, "errno", None)
        name = errno.errorcode.get(number, "") if isinstance(number, int) else ""
        return {"value": False, "error": name or type(error).__name__, "text": traceback.format_exc()[-3000:]}


def confine(
    *, read: list[str], write: list[str], policy: dict[str, Any], abi: int | None, with_filter: bool
) -> None:
    """Confine this process as a worker is, or as it would be on an older kernel with this `abi`."""
    from workers.wall import confine as wall  # noqa: PLC0415 - not in the process that is not confined
    from workers.wall import kernel, support  # noqa: PLC0415
    from workers.wall.policy import WallPolicy  # noqa: PLC0415

    here = support.detect()
    if abi is not None or not with_filter:
        version = here.landlock_abi if abi is None else abi
        here = support.assess(version, seccomp=with_filter, machine=kernel.machine())
    policy["readable"] = tuple(policy.get("readable", ()))
    wall.confine(WallPolicy(**policy), read=read, write=write, here=here)


def call(number: int, *arguments: Any) -> int:
    """Make a system call and return its result. Raises OSError."""
    library = ctypes.CDLL(None, use_errno=True)
    result: int = library.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


if __name__ == "__main__":
    main()
