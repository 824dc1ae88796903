"""Workers that end by themselves soon after they were started: how long the next one waits for its start."""

from __future__ import annotations

from typing import Final

_SHORT_LIFE_SECONDS: Final = 10.0
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0


class Relapses:
    """The `pause` of one model, doubled with each generation of workers that lives for a short time only."""

    def __init__(self) -> None:
        self.pause = 0.0
        self._noted = float("-inf")

    def pause_after(self, *, started: float, ended: float) -> float:
        """Seconds until the worker may be replaced that lived, and was asked nothing, between these times.

        Several that were started before the last one ended are of its generation.
        """
        if ended - started >= _SHORT_LIFE_SECONDS:
            self.pause = 0.0
        elif started >= self._noted:
            self.pause = min(_LONGEST_PAUSE_SECONDS, max(_FIRST_PAUSE_SECONDS, 2 * self.pause))
            self._noted = ended
        return self.pause
