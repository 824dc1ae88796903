"""Tracks whether MLflow answers, from the outcome of every call, and logs each change."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from gateway.errors import BadUpstreamResponse, GatewayError, UpstreamTimeout, UpstreamUnavailable, error_kind
from gateway.mlflow_client import RequestRejected
from workers.backoff import Backoff
from workers.metrics import CounterSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from workers.metrics import Counters

MLFLOW_REQUESTS: Final = CounterSpec(
    "mlflow_requests",
    "Calls to MLflow by outcome: ok (including errors in MLflow's own form), unavailable, timeout or "
    "bad_response.",
    ("outcome",),
)

logger = logging.getLogger(__name__)

_INITIAL_BACKOFF_SECONDS: Final = 0.5
_MAX_BACKOFF_SECONDS: Final = 15.0  # until MLflow was reached for the first time
_MAX_RECONNECT_BACKOFF_SECONDS: Final = 4.0  # after that: a server that was there is wanted back soon


class UpstreamAvailability:
    """A record of whether calls to MLflow succeed.

    `ever_reached` is True after the first successful call. `unavailable_reason` is the error of the last
    call if it failed, else None, and `unavailable_since` the time of the first failure since the last
    success. `unavailable` is set until MLflow is first reached, and while calls fail.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self.ever_reached = False
        self.unavailable_reason: str | None = None
        self.unavailable_since: datetime | None = None
        self.unavailable = asyncio.Event()
        self.unavailable.set()

    @contextmanager
    def observe(self) -> Iterator[None]:
        """Record the outcome of the calls in the block; a request that MLflow rejects counts as a success."""
        try:
            yield
        except RequestRejected:
            self._record_success()
            raise
        except (BadUpstreamResponse, UpstreamUnavailable, UpstreamTimeout) as error:
            self._record_failure(error)
            raise
        except GatewayError:
            self._record_success()
            raise
        else:
            self._record_success()

    def _record_success(self) -> None:
        self._counters.increment(MLFLOW_REQUESTS, "ok")
        if self.unavailable_reason is not None:
            logger.info("Calls to MLflow succeed again", extra={"event": "mlflow_calls_succeeding"})
        self.ever_reached, self.unavailable_reason, self.unavailable_since = True, None, None
        self.unavailable.clear()

    def _record_failure(self, error: BadUpstreamResponse | UpstreamUnavailable | UpstreamTimeout) -> None:
        self._counters.increment(MLFLOW_REQUESTS, error_kind(error))
        reason = str(error)
        if self.unavailable_reason is None:
            consequence = " Known models are still served" if self.ever_reached else ""
            logger.warning(
                "Calls to MLflow fail: %s%s", reason, consequence, extra={"event": "mlflow_calls_failing"}
            )
            self.unavailable_since = datetime.now(UTC)
            self.unavailable.set()
        self.unavailable_reason = reason

    async def reconnect_forever(
        self, probe: Callable[[], Awaitable[None]], *, initial_backoff: float = _INITIAL_BACKOFF_SECONDS
    ) -> None:
        """Repeat `probe` while MLflow is unavailable, whether or not requests come; runs until cancelled.

        `probe` makes one real call to MLflow under `observe`, and raises GatewayError if that fails.
        """
        while True:
            await self.unavailable.wait()
            maximum = _MAX_RECONNECT_BACKOFF_SECONDS if self.ever_reached else _MAX_BACKOFF_SECONDS
            backoff = Backoff(initial_backoff, maximum)
            while self.unavailable.is_set():
                try:
                    await probe()
                except GatewayError as error:
                    delay = backoff.next_delay()
                    if not self.ever_reached:  # a later outage is logged once, when it begins
                        logger.warning(
                            "MLflow is not reached yet; next try in %g s: %s",
                            delay,
                            error,
                            extra={"event": "mlflow_not_reached", "delay_seconds": delay},
                        )
                    await asyncio.sleep(delay)
