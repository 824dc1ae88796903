"""Log what a process writes to its standard output and error, bounded in rate and length."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger("model")

_CHUNK_BYTES: Final = 2**16
_MAX_CHUNKS: Final = 16  # in a second: 1 MiB, more than which the model's writes wait
_MAX_LINE_BYTES: Final = 4_096
_LINES_PER_SECOND: Final = 50.0
_BURST_LINES: Final = 200.0


class OutputLog:
    """A reader of one process' output, which logs each line with fields that say whose it is.

    A line is logged once it is whole, or as long as a line may be; what follows of a longer one is left
    out. Lines beyond the rate are counted, and the next line that is logged tells how many there were.
    """

    def __init__(self, descriptor: int, fields: Mapping[str, object]) -> None:
        """Read from the running loop; `descriptor` is the pipe's end, which this object owns."""
        self._loop = asyncio.get_running_loop()
        self._descriptor = descriptor
        self._fields = dict(fields)
        self._lines = LineSplitter(_MAX_LINE_BYTES)
        self._limiter = LineLimiter(_LINES_PER_SECOND, _BURST_LINES)
        self._chunks = 0
        self._pause: asyncio.TimerHandle | None = None
        os.set_blocking(descriptor, False)
        # Without the context of the request that loads the model: the output is not that request's alone.
        contextvars.Context().run(self._loop.add_reader, descriptor, self._on_readable)

    def set_pid(self, pid: int) -> None:
        """Log further lines with this process id."""
        self._fields["pid"] = pid

    def close(self) -> None:
        """Log what is left, and close the pipe. Can be called repeatedly."""
        if self._descriptor >= 0:
            for _ in range(_MAX_CHUNKS):
                if not self._read():
                    break
            self._end()

    def _on_readable(self) -> None:
        if self._pause is None:
            self._chunks, self._pause = 0, self._loop.call_later(1.0, self._start_second)
        self._chunks += 1
        if self._chunks > _MAX_CHUNKS:
            self._loop.remove_reader(self._descriptor)
        elif self._read() is None:
            self._end()

    def _start_second(self) -> None:
        self._pause = None
        if self._chunks > _MAX_CHUNKS:
            self._loop.add_reader(self._descriptor, self._on_readable)

    def _read(self) -> int | None:
        """Log the lines that can be read; return the number of bytes, None at the end."""
        try:
            data = os.read(self._descriptor, _CHUNK_BYTES)
        except BlockingIOError:
            return 0
        for line in self._lines.feed(data) if data else self._lines.finish():
            self._log(line)
        return len(data) or None

    def _log(self, line: bytes) -> None:
        if not self._limiter.admit(self._loop.time()):
            return
        text = line.decode("utf-8", "replace")
        fields, dropped = self._fields, self._limiter.take_dropped()
        if dropped:
            fields = {**fields, "lines_left_out": dropped}
        logger.info("%s", text, extra=fields)

    def _end(self) -> None:
        for line in self._lines.finish():
            self._log(line)
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1


class LineSplitter:
    """Splits bytes into lines of at most `max_bytes`, without their ends; empty lines are left out."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = b""
        self._skipping = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that these bytes complete."""
        *whole, rest = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        lines = whole[1:] if self._skipping and whole else whole
        if self._skipping and not whole:
            rest = b""
        elif whole:
            self._skipping = False
        self._rest = rest
        lines = [line[: self._max_bytes] for line in lines if line]
        if len(rest) >= self._max_bytes:
            lines.append(rest[: self._max_bytes])
            self._rest, self._skipping = b"", True
        return lines

    def finish(self) -> list[bytes]:
        """Return the line that has no end."""
        rest, self._rest = self._rest, b""
        return [rest] if rest and not self._skipping else []


class LineLimiter:
    """Admits `per_second` lines, and `burst` at once; counts the others."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second, self._burst = per_second, burst
        self._tokens = burst
        self._at = 0.0
        self._dropped = 0

    def admit(self, now: float) -> bool:
        """Return whether a line may be logged at `now`, in seconds."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        if self._tokens < 1.0:
            self._dropped += 1
            return False
        self._tokens -= 1.0
        return True

    def take_dropped(self) -> int:
        """Return how many lines were not admitted since the last call."""
        dropped, self._dropped = self._dropped, 0
        return dropped
