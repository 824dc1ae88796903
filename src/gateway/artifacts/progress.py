"""How far a download is: told to the log now and then, and held to its bound."""

from __future__ import annotations

import logging
from time import monotonic

from gateway.errors import CacheFull

logger = logging.getLogger(__name__)
_MEGABYTE = 1e6


class DownloadProgress:
    """Counts the bytes of one download; logs at most every `every` seconds."""

    def __init__(self, label: str, *, total: int | None, limit: int, log_interval: float = 5.0) -> None:
        self._label = label
        self._total = total
        self._limit = limit
        self._log_interval = log_interval
        self._started = self._last_logged = monotonic()
        self.done_bytes = 0

    def add(self, count: int) -> None:
        """Count bytes that are now on this machine; raises CacheFull beyond the limit."""
        self.done_bytes += count
        if self.done_bytes > self._limit:
            raise CacheFull(
                f"This version's files are larger than the artifact cache: over {self._limit} bytes. "
                "GATEWAY_CACHE_MAX_BYTES sets its size."
            )
        now = monotonic()
        if now - self._last_logged >= self._log_interval:
            self._last_logged = now
            logger.info("%s: %s, %.1f MB/s", self._label, self._format_done(), self._speed(now))

    def start(self, where: str) -> None:
        """Tell that the download from `where` begins."""
        size = "of unknown size" if self._total is None else f"{self._total / _MEGABYTE:.1f} MB"
        logger.info("%s: %s from %s", self._label, size, where)

    def finish(self) -> None:
        """Tell that the download is complete."""
        now = monotonic()
        seconds = now - self._started
        logger.info(
            "%s: complete, %.1f MB in %.1f s, %.1f MB/s",
            self._label,
            self.done_bytes / _MEGABYTE,
            seconds,
            self._speed(now),
        )

    def _format_done(self) -> str:
        if not self._total:
            return f"{self.done_bytes / _MEGABYTE:.1f} MB"
        return f"{self.done_bytes / _MEGABYTE:.1f} of {self._total / _MEGABYTE:.1f} MB ({100 * self.done_bytes // self._total} %)"

    def _speed(self, now: float) -> float:
        return self.done_bytes / _MEGABYTE / max(now - self._started, 1e-3)
