"""Counts and logs the progress of a download, and enforces its size limit."""

from __future__ import annotations

import logging
from time import monotonic

from gateway.errors import CacheFull

logger = logging.getLogger(__name__)
_MEGABYTE = 1e6


class DownloadProgress:
    """A byte counter for the download of one model, which logs at most every `log_interval` seconds."""

    def __init__(self, model: str, *, total: int | None, limit: int, log_interval: float = 5.0) -> None:
        self._model = model
        self._total = total
        self._limit = limit
        self._log_interval = log_interval
        self._started = self._last_logged = monotonic()
        self.done_bytes = 0

    def add(self, count: int) -> None:
        """Count `count` more downloaded bytes; raise CacheFull if the total is over the limit."""
        self.done_bytes += count
        if self.done_bytes > self._limit:
            raise CacheFull(
                f"This version's files are larger than the artifact cache: over {self._limit} bytes. "
                "GATEWAY_CACHE_MAX_BYTES sets its size."
            )
        now = monotonic()
        if now - self._last_logged >= self._log_interval:
            self._last_logged = now
            logger.info(
                "Downloading %s: %s, %.1f MB/s",
                self._model,
                self._format_done(),
                self._speed(now),
                extra={"event": "download_progress", "model": self._model, "bytes": self.done_bytes},
            )

    def start(self, scheme: str) -> None:
        """Log the start of the download from a location of this scheme."""
        size = "unknown size" if self._total is None else f"{self._total / _MEGABYTE:.1f} MB"
        logger.info(
            "Downloading %s from %s: %s",
            self._model,
            scheme,
            size,
            extra={"event": "download_started", "model": self._model, "scheme": scheme, "bytes": self._total},
        )

    def finish(self) -> None:
        """Log the end of the download."""
        now = monotonic()
        seconds = now - self._started
        logger.info(
            "Downloaded %s: %.1f MB in %.1f s, %.1f MB/s",
            self._model,
            self.done_bytes / _MEGABYTE,
            seconds,
            self._speed(now),
            extra={
                "event": "download_finished",
                "model": self._model,
                "bytes": self.done_bytes,
                "seconds": seconds,
            },
        )

    def _format_done(self) -> str:
        if not self._total:
            return f"{self.done_bytes / _MEGABYTE:.1f} MB"
        percent = 100 * self.done_bytes // self._total
        return f"{self.done_bytes / _MEGABYTE:.1f} of {self._total / _MEGABYTE:.1f} MB ({percent} %)"

    def _speed(self, now: float) -> float:
        return self.done_bytes / _MEGABYTE / max(now - self._started, 1e-3)
