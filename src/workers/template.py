"""The template process: it has imported everything heavy, and each worker is a fork of it."""

from __future__ import annotations

import multiprocessing
import os
import threading
from contextlib import contextmanager
from multiprocessing import forkserver
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from multiprocessing.context import ForkServerContext

PRELOAD = ["workers.preload"]

# The worker's libraries must not phone home, nor ask an MLflow server for what is on disk already.
_ALWAYS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_TRACKING_URI": "file:///dev/null",
}


class Template:
    """Owns multiprocessing's fork server and the environment that workers see.

    The server is one per Python process; it ends when this process does, and takes the workers
    with it (each asks the kernel for that, see `workers.child`).
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """`environment` is all that workers see of the environment; None leaves them this process' own."""
        self._environment = {**(os.environ if environment is None else environment), **_ALWAYS}
        self._lock = threading.Lock()
        self.context: ForkServerContext = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(PRELOAD)

    def ensure_running(self) -> None:
        """Start the template where it does not run; returns at once, the imports go on behind."""
        with self._lock, _environment(self._environment):
            forkserver.ensure_running()


@contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """Let a process that starts meanwhile see `wanted` only: the fork server takes no environment."""
    kept = dict(os.environ)
    os.environ.clear()
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)
