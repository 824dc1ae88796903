"""The garbage collector of a process that serves."""

from __future__ import annotations

import gc


def tune_gc() -> None:
    """Keep the garbage collector from what stays for good, and from frequent runs.

    It took 5 % of the time under load and found nothing: requests leave no cycles.
    """
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
