"""Whether a server has stopped answering: then one call at a time tries it, and no other waits for it."""

from __future__ import annotations

from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from gateway.errors import UpstreamAway

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_SECONDS = 5.0
_REST_SECONDS = 1.0
_FADES = 0.9  # what is left of the usual time with each quicker answer


class Silence:
    """Learns from how the calls to one server end; each may take `limit` seconds.

    It begins when a call runs out of its time, or others have waited for `patience` seconds (or twice what
    answers took lately), and nothing was heard meanwhile. From then on calls are refused at once, but for
    one that tries, and after it the next when `rest` seconds are over. Whatever the server answers ends
    it; so does a connection that fails at once, since nobody waits for that.
    """

    def __init__(
        self, limit: float, *, patience: float = PATIENCE_SECONDS, rest: float = _REST_SECONDS
    ) -> None:
        self._limit = limit
        self._least_patience = min(patience, limit)
        self._usual = 0.0
        self._rest = rest
        self._waiting: dict[object, float] = {}
        self._heard = monotonic()
        self._since = self._heard
        self._silent = False
        self._trying = False
        self._tries = 0
        self._rest_until = 0.0

    @contextmanager
    def call(self) -> Iterator[float]:
        """One call, made inside: gives the seconds it may take; UpstreamAway where it must not be made."""
        began = monotonic()
        tries = self._admitted(began)
        mark = object()
        self._waiting[mark] = began
        try:
            yield self._seconds() if tries else self._limit
        except TimeoutError:
            self._hears_nothing(began)
            raise
        except Exception:
            self._hears(began)
            raise
        else:
            self._hears(began)
        finally:
            del self._waiting[mark]
            if tries:
                self._trying = False

    def _admitted(self, now: float) -> bool:
        """Whether the call is one that tries a silent server; False for any other."""
        if not self._silent and self._waiting:
            self._since = max(next(iter(self._waiting.values())), self._heard)
            self._silent = now - self._since >= self._patience
        if not self._silent:
            return False
        if self._trying or now < self._rest_until:
            raise UpstreamAway(f"MLflow has not answered for {now - self._since:.0f} s, and is being tried.")
        self._trying = True
        return True

    def _seconds(self) -> float:
        # Little at first, since the connection itself may be what is dead; more each time, since the
        # server may only have become slow.
        return min(self._limit, self._patience * 2.0**self._tries)

    @property
    def _patience(self) -> float:
        # A server that always takes long is not silent for that.
        return min(self._limit, max(self._least_patience, 2 * self._usual))

    def _hears(self, began: float) -> None:
        self._heard = monotonic()
        self._usual = max(_FADES * self._usual, self._heard - began)
        self._silent, self._tries, self._rest_until = False, 0, 0.0

    def _hears_nothing(self, since: float) -> None:
        if self._heard > since:
            return
        if self._silent:
            self._tries = min(self._tries + 1, 10)
        else:
            self._silent, self._tries, self._since = True, 0, since
        self._rest_until = monotonic() + self._rest
