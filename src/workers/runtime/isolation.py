"""What sets a worker process apart: it ends with the gateway, and can send it nothing but answers."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import random
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_OOM_SCORE_ADJ = "500"  # as if it took half of the machine's memory more


def die_with_parent() -> None:
    """Die with the template, which dies with the gateway; lead a group of our own.

    The group lets the parent end what the model started, and Ctrl-C on a terminal does not reach it.
    """
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:  # the template ended before we asked
            os._exit(1)
        _close_forkserver_pipe()
        _prefer_for_oom_kill()
    # Where the kernel cannot be asked, or forgets, we watch the gateway ourselves.
    threading.Thread(target=_exit_with_gateway, name="gateway watch", daemon=True).start()


def _prefer_for_oom_kill() -> None:
    """Where memory runs out, the kernel ends a worker sooner than the gateway or the template."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE_ADJ, encoding="ascii")


def _close_forkserver_pipe() -> None:
    """Close our copy of the pipe whose end tells the template that the gateway is gone.

    multiprocessing hands it to each child, for children of its own; the template would wait for the
    workers as they wait for it.
    """
    server: Any = forkserver._forkserver  # noqa: SLF001 - nothing public closes it
    descriptor, server._forkserver_alive_fd = server._forkserver_alive_fd, None  # noqa: SLF001 - as above
    if descriptor is not None:
        os.close(descriptor)


def close_executor_results() -> None:
    """Close the pipe of the executor's results before any code of the model runs.

    The gateway unpickles what comes through it, so that whoever can write there can run code in the
    gateway. Answers take the socket, whose bytes are only read.
    """
    frame = sys._getframe()  # noqa: SLF001 - the executor hands its queue to nobody
    while frame.f_back is not None:
        frame = frame.f_back
        if (results := frame.f_locals.get("result_queue")) is not None:
            results._writer.close()  # noqa: SLF001 - nothing public closes it
            return


def _exit_with_gateway() -> None:
    gateway = multiprocessing.parent_process()
    if gateway is not None:
        gateway.join()
        os.killpg(os.getpgrp(), signal.SIGKILL)


def reseed_random() -> None:
    """Each fork of the template has its generators' state: two workers must not draw alike."""
    import numpy as np  # noqa: PLC0415 - not for the parent

    random.seed()
    np.random.seed(int.from_bytes(os.urandom(4), "little"))
