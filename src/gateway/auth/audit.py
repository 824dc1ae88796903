"""The audit log: a JSON line for what an operator may have to account for. No secret and no body is in it."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from queue import Full, Queue
from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.auth.audit_file import AuditFile
from gateway.concurrency.threads import in_thread
from gateway.errors import GatewayError
from gateway.settings.auth import NO_AUDIT_LOG, STDERR
from workers.metrics import CounterSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from workers.metrics import Counters

logger = logging.getLogger(__name__)

AUDIT_LINES_LOST: Final = CounterSpec(
    "audit_lines_lost", "Lines of the audit log that were lost because its file or stream did not take them."
)
_MAX_WAITING: Final = 10_000
_TELL_SECONDS: Final = 60.0
_CLOSE_SECONDS: Final = 3.0  # less than a shutdown may take


class AuditLogUnusable(GatewayError):
    """The file of GATEWAY_AUDIT_LOG cannot be written."""


class AuditLog:
    """A log that takes lines at once, and has a thread write them; what cannot be written is counted."""

    def __init__(self, target: str, *, counters: Counters) -> None:
        """`target` is `off`, `stderr` or the path of a file, which may be renamed to begin another."""
        self.active = target != NO_AUDIT_LOG
        self._target = target
        self._counters = counters
        self._queue: Queue[bytes | None] = Queue(_MAX_WAITING)
        self._thread: threading.Thread | None = None
        self._tell_again = 0.0
        counters.increment(AUDIT_LINES_LOST, times=0)

    async def open(self) -> None:
        """Begin to write; raise AuditLogUnusable if that is not possible."""
        if self.active:
            write, close = await in_thread(self._open_target)
            arguments = write, close, asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._run, args=arguments, name="audit log", daemon=True)
            self._thread.start()

    async def close(self) -> None:
        """Write what waits, as far as that is possible within seconds, and end the thread."""
        if self._thread is not None:
            await in_thread(self._end, self._thread)
            self._thread = None

    def write(self, fields: Mapping[str, Any]) -> None:
        """Take one line; fields that are None are left out."""
        line = {"time": datetime.now(UTC), "event": "audit"}
        line |= {name: value for name, value in fields.items() if value is not None}
        try:
            self._queue.put_nowait(orjson.dumps(line, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE))
        except Full:
            self._counters.increment(AUDIT_LINES_LOST)

    def _run(
        self, write: Callable[[bytes], object], close: Callable[[], None], loop: asyncio.AbstractEventLoop
    ) -> None:
        """Write lines, in the thread, until there is None in their place."""
        while (line := self._queue.get()) is not None:
            try:
                write(line)
            except (OSError, ValueError) as error:
                with suppress(RuntimeError):  # the loop is closed, and with it the gateway
                    loop.call_soon_threadsafe(self._counters.increment, AUDIT_LINES_LOST)
                self._tell(error)
        close()

    def _end(self, thread: threading.Thread) -> None:
        with suppress(Full):
            self._queue.put(None, timeout=_CLOSE_SECONDS / 2)
        thread.join(_CLOSE_SECONDS / 2)
        if thread.is_alive():  # it hangs in a write; the process ends without it
            logger.error(
                "The audit log does not take its last %d lines; they are lost",
                self._queue.qsize(),
                extra={"event": "audit_log_failed"},
            )

    def _tell(self, error: Exception) -> None:
        if time.monotonic() >= self._tell_again:
            self._tell_again = time.monotonic() + _TELL_SECONDS
            logger.error(
                "The audit log cannot be written; lines are lost until it can: %s",
                error.strerror if isinstance(error, OSError) else "it is closed",
                extra={"event": "audit_log_failed"},
            )

    def _open_target(self) -> tuple[Callable[[bytes], object], Callable[[], None]]:
        if self._target == STDERR:
            return _write_to_stderr, _noop
        try:
            file = AuditFile(self._target)
        except OSError as error:
            raise AuditLogUnusable(
                f"The audit log cannot be written: GATEWAY_AUDIT_LOG is {self._target}: {error.strerror}."
            ) from error
        return file.write, file.close


def _write_to_stderr(line: bytes) -> None:
    sys.stderr.write(line.decode())
    sys.stderr.flush()


def _noop() -> None:
    """Leave standard error open."""
