"""How far a download is: told to the log now and then, and held to its bound."""

from __future__ import annotations

import logging
from time import monotonic

from gateway.errors import CacheFull

logger = logging.getLogger(__name__)
_MEGA = 1e6


class Meter:
    """Counts the bytes of one download; logs at most every `every` seconds."""

    def __init__(self, what: str, *, total: int | None, limit: int, every: float = 5.0) -> None:
        self._what = what
        self._total = total
        self._limit = limit
        self._every = every
        self._started = self._told = monotonic()
        self.done = 0

    def add(self, count: int) -> None:
        """Count bytes that are now on this machine; raises CacheFull beyond the limit."""
        self.done += count
        if self.done > self._limit:
            raise CacheFull(
                f"This version's files are larger than the artifact cache: over {self._limit} bytes. "
                "GATEWAY_CACHE_MAX_BYTES sets its size."
            )
        now = monotonic()
        if now - self._told >= self._every:
            self._told = now
            logger.info("%s: %s, %.1f MB/s", self._what, self._share(), self._speed(now))

    def start(self, where: str) -> None:
        """Tell that the download from `where` begins."""
        size = "of unknown size" if self._total is None else f"{self._total / _MEGA:.1f} MB"
        logger.info("%s: %s from %s", self._what, size, where)

    def end(self) -> None:
        """Tell that the download is complete."""
        now = monotonic()
        seconds = now - self._started
        logger.info(
            "%s: complete, %.1f MB in %.1f s, %.1f MB/s",
            self._what,
            self.done / _MEGA,
            seconds,
            self._speed(now),
        )

    def _share(self) -> str:
        if not self._total:
            return f"{self.done / _MEGA:.1f} MB"
        return f"{self.done / _MEGA:.1f} of {self._total / _MEGA:.1f} MB ({100 * self.done // self._total} %)"

    def _speed(self, now: float) -> float:
        return self.done / _MEGA / max(now - self._started, 1e-3)
