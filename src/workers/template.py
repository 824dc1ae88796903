"""The template process: it has imported everything heavy, and each worker is a fork of it."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing import forkserver
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from multiprocessing.context import ForkServerContext

PRELOAD = ["workers.preload"]


class Template:
    """Owns multiprocessing's fork server and the environment that workers see.

    The server is one per Python process; it ends when this process does, and takes the workers
    with it (each asks the kernel for that, see `workers.child`). multiprocessing starts another one
    whenever it finds that the last has died.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """`environment` is all that workers see of the environment; None leaves them this process' own."""
        if environment is not None:
            _inherit(environment)
        self.context: ForkServerContext = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(PRELOAD)

    def ensure_running(self) -> None:
        """Start the template where it does not run; returns at once, the imports go on behind."""
        forkserver.ensure_running()

    @property
    def pid(self) -> int | None:
        """The template's process id; None where it was not started yet."""
        server: Any = forkserver._forkserver  # noqa: SLF001 - nothing public tells it
        pid: int | None = server._forkserver_pid  # noqa: SLF001 - as above
        return pid


def _inherit(environment: Mapping[str, str]) -> None:
    """Let every process that is started from here on inherit `environment`, and nothing else.

    The fork server takes no environment of its own, and may be started anew at any time by any
    thread. What C and a new process see is changed; `os.environ`, which is Python's copy, is not,
    so that this process' own libraries find their credentials still.
    """
    for name in os.environ:
        if name not in environment:
            os.unsetenv(name)
    for name, value in environment.items():
        os.putenv(name, value)
