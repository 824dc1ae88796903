"""The fork server's start: prepare the process, import what workers need, and serve the gateway."""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import socket
import sys
import traceback
from typing import TYPE_CHECKING, Any, Final, NoReturn

from workers.forkserver import transport
from workers.forkserver.server import ForkServerLoop
from workers.wall import confine, paths

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# What each process needs to read an executor's order, and would import for itself.
_EXECUTOR_MODULES: Final = (
    "concurrent.futures.process",
    "multiprocessing.queues",
    "multiprocessing.reduction",
)
_PR_SET_DUMPABLE: Final = 4
_PR_SET_CHILD_SUBREAPER: Final = 36


def run(descriptor: int) -> None:
    """Serve the gateway at the other end of a socket, until it closes it; then end all processes below."""
    control = socket.socket(fileno=descriptor)
    control.set_inheritable(False)
    body, _ = transport.receive(control)
    order: Mapping[str, Any] = json.loads(body)
    _prepare_process()
    sys.path[:] = [*order["path"], *(path for path in sys.path if path not in order["path"])]
    failed_imports = _preload(order["preload"], _EXECUTOR_MODULES)
    confine.prepare(order["private"])
    server = ForkServerLoop(control)
    server.report({"failed_imports": failed_imports})
    _serve(server)


def run_in_environment(control_descriptor: int, order_descriptor: int) -> None:
    """Serve the gateway as `run` does, in a process that is confined already, with an environment's packages.

    If these lack what each worker needs, it reports that to the gateway, and the process ends.
    """
    with os.fdopen(order_descriptor, encoding="utf-8") as file:
        order: Mapping[str, Any] = json.load(file)
    control = socket.socket(fileno=control_descriptor)
    control.set_inheritable(False)
    _prepare_process()
    if order["rules"]:
        paths.give((path, access) for path, access in order["rules"])
    failed_imports = _preload(order["preload"])
    confine.prepare()
    server = ForkServerLoop(control)
    failure = _required_import_failure()
    server.report({"failed_imports": failed_imports, "failure": failure})
    if failure is None:
        _serve(server)
    os._exit(0)


def _required_import_failure() -> dict[str, str] | None:
    """Return what each worker needs and could not be imported, if there is such a thing."""
    from workers.runtime.preload.setup import PreloadState  # noqa: PLC0415 - imported by now

    return PreloadState.errors[0]._asdict() if PreloadState.errors else None


def _serve(server: ForkServerLoop) -> NoReturn:
    try:
        server.run()
    except Exception:  # noqa: BLE001 - the gateway finds that the server has ended; this says why
        traceback.print_exc()
    finally:
        server.end_all()
        os._exit(0)  # what libraries do at the end of a program would take seconds, or hang


def _prepare_process() -> None:
    """Adopt orphans, and give other processes of this user no way to this one's descriptors and memory.

    Its children inherit both until they are prepared: see `workers.runtime.isolation`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _preload(entry_module: str, more: Sequence[str] = ()) -> list[str]:
    """Import `more`, then a module of `workers.runtime.preload`.

    Return the names of what could not be imported.
    """
    for name in more:
        importlib.import_module(name)
    try:
        return list(importlib.import_module(entry_module).failed_imports)
    except Exception:  # noqa: BLE001 - workers import for themselves what is missing
        traceback.print_exc()
        return [entry_module]
