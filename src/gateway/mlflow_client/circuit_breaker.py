"""Whether a server has stopped answering: then one call at a time tries it, and no other waits for it."""

from __future__ import annotations

from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from gateway.errors import UpstreamUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

OPEN_AFTER_SECONDS = 5.0
_RESET_TIMEOUT_SECONDS = 1.0
_LATENCY_DECAY = 0.9  # what is left of the usual time with each quicker answer


class CircuitBreaker:
    """Learns from how the calls to one server end; each may take `limit` seconds.

    It begins when a call runs out of its time, or others have waited for `patience` seconds (or twice what
    answers took lately), and nothing was heard meanwhile. From then on calls are refused at once, but for
    one that tries, and after it the next when `rest` seconds are over. Whatever the server answers ends
    it; so does a connection that fails at once, since nobody waits for that.
    """

    def __init__(
        self,
        timeout: float,
        *,
        open_after: float = OPEN_AFTER_SECONDS,
        reset_timeout: float = _RESET_TIMEOUT_SECONDS,
    ) -> None:
        self._timeout = timeout
        self._min_open_after = min(open_after, timeout)
        self._usual_latency = 0.0
        self._reset_timeout = reset_timeout
        self._pending: dict[object, float] = {}
        self._last_response = monotonic()
        self._unresponsive_since = self._last_response
        self._open = False
        self._probing = False
        self._failed_probes = 0
        self._retry_at = 0.0

    @contextmanager
    def call(self) -> Iterator[float]:
        """One call, made inside: gives the seconds it may take; UpstreamAway where it must not be made."""
        began = monotonic()
        tries = self._before_call(began)
        mark = object()
        self._pending[mark] = began
        try:
            yield self._probe_timeout() if tries else self._timeout
        except TimeoutError:
            self._on_timeout(began)
            raise
        except Exception:
            self._on_response(began)
            raise
        else:
            self._on_response(began)
        finally:
            del self._pending[mark]
            if tries:
                self._probing = False

    def _before_call(self, now: float) -> bool:
        """Whether the call is one that tries a silent server; False for any other."""
        if not self._open and self._pending:
            self._unresponsive_since = max(next(iter(self._pending.values())), self._last_response)
            self._open = now - self._unresponsive_since >= self._open_after
        if not self._open:
            return False
        if self._probing or now < self._retry_at:
            raise UpstreamUnavailable(
                f"MLflow has not answered for {now - self._unresponsive_since:.0f} s, and is being tried."
            )
        self._probing = True
        return True

    def _probe_timeout(self) -> float:
        # Little at first, since the connection itself may be what is dead; more each time, since the
        # server may only have become slow.
        return min(self._timeout, self._open_after * 2.0**self._failed_probes)

    @property
    def _open_after(self) -> float:
        # A server that always takes long is not silent for that.
        return min(self._timeout, max(self._min_open_after, 2 * self._usual_latency))

    def _on_response(self, began: float) -> None:
        self._last_response = monotonic()
        self._usual_latency = max(_LATENCY_DECAY * self._usual_latency, self._last_response - began)
        self._open, self._failed_probes, self._retry_at = False, 0, 0.0

    def _on_timeout(self, since: float) -> None:
        if self._last_response > since:
            return
        if self._open:
            self._failed_probes = min(self._failed_probes + 1, 10)
        else:
            self._open, self._failed_probes, self._unresponsive_since = True, 0, since
        self._retry_at = monotonic() + self._reset_timeout
