"""A circuit breaker: while a server does not respond, one call at a time probes it, others fail at once."""

from __future__ import annotations

from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from gateway.errors import UpstreamUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OPEN_AFTER_SECONDS = 5.0
_RESET_TIMEOUT_SECONDS = 1.0
_LATENCY_DECAY = 0.9  # the factor of the usual latency with each quicker response


class CircuitBreaker:
    """A circuit breaker for the calls to one server, each of which may take `timeout` seconds.

    It opens if the server sent no response while a call timed out, or while a call has been pending for
    `open_after` seconds, or twice the recent latency if that is longer. While it is open, one call at a
    time is a probe, and all others are rejected. After a failed probe the next one starts after
    `reset_timeout` seconds. Any response closes it. So does an immediate connection error, because then no
    caller has to wait.
    """

    def __init__(
        self,
        timeout: float,
        *,
        open_after: float = OPEN_AFTER_SECONDS,
        reset_timeout: float = _RESET_TIMEOUT_SECONDS,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._timeout = timeout
        self._clock = clock
        self._min_open_after = min(open_after, timeout)
        self._usual_latency = 0.0
        self._reset_timeout = reset_timeout
        self._pending: dict[object, float] = {}
        self._last_response = self._clock()
        self._unresponsive_since = self._last_response
        self._open = False
        self._probing = False
        self._failed_probes = 0
        self._retry_at = 0.0

    @contextmanager
    def call(self) -> Iterator[float]:
        """Yield the seconds that the call in the block may take; raise UpstreamUnavailable if rejected."""
        started = self._clock()
        is_probe = self._before_call(started)
        call_id = object()
        self._pending[call_id] = started
        try:
            yield self._probe_timeout() if is_probe else self._timeout
        except TimeoutError:
            self._on_timeout(started)
            raise
        except Exception:
            self._on_response(started)
            raise
        else:
            self._on_response(started)
        finally:
            del self._pending[call_id]
            if is_probe:
                self._probing = False

    def _before_call(self, now: float) -> bool:
        """Return whether the call is a probe; raise UpstreamUnavailable if it is rejected."""
        if not self._open and self._pending:
            self._unresponsive_since = max(next(iter(self._pending.values())), self._last_response)
            self._open = now - self._unresponsive_since >= self._open_after
        if not self._open:
            return False
        if self._probing or now < self._retry_at:
            raise UpstreamUnavailable(f"MLflow has not answered for {now - self._unresponsive_since:.0f} s.")
        self._probing = True
        return True

    def _probe_timeout(self) -> float:
        # Short at first, because the connection may be dead; longer with each failed probe, because the
        # server may only have become slow.
        return min(self._timeout, self._open_after * 2.0**self._failed_probes)

    @property
    def _open_after(self) -> float:
        # A server that always responds slowly must not open the breaker.
        return min(self._timeout, max(self._min_open_after, 2 * self._usual_latency))

    def _on_response(self, started: float) -> None:
        self._last_response = self._clock()
        self._usual_latency = max(_LATENCY_DECAY * self._usual_latency, self._last_response - started)
        self._open, self._failed_probes, self._retry_at = False, 0, 0.0

    def _on_timeout(self, started: float) -> None:
        if self._last_response > started:
            return
        if self._open:
            self._failed_probes = min(self._failed_probes + 1, 10)
        else:
            self._open, self._failed_probes, self._unresponsive_since = True, 0, started
        self._retry_at = self._clock() + self._reset_timeout
