"""Whether MLflow answers: learnt from every call, logged when it changes."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from gateway.errors import BadUpstreamResponse, GatewayError, UpstreamTimeout, UpstreamUnavailable, error_kind
from gateway.mlflow_client import RequestRejected
from workers.metrics import CounterSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workers.metrics import Counters

MLFLOW_REQUESTS: Final = CounterSpec(
    "mlflow_lookups",
    "What was asked of MLflow, by how that ended: answered (a refusal in MLflow's own words, too), away, "
    "slow, or wrong.",
    ("outcome",),
)

logger = logging.getLogger(__name__)


class UpstreamAvailability:
    """`reached` once any call has succeeded; `away` tells why the last one failed, None if it did not.

    `since` is when that began; `doubtful` is set until MLflow was reached, and while it is away.
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
        """Learn from how the calls inside end; a refusal in MLflow's own words is an answer too."""
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
        self._counters.increment(MLFLOW_REQUESTS, "answered")
        if self.unavailable_reason is not None:
            logger.info("MLflow answers again")
        self.ever_reached, self.unavailable_reason, self.unavailable_since = True, None, None
        self.unavailable.clear()

    def _record_failure(self, error: BadUpstreamResponse | UpstreamUnavailable | UpstreamTimeout) -> None:
        self._counters.increment(MLFLOW_REQUESTS, error_kind(error))
        reason = str(error)
        if self.unavailable_reason is None:
            logger.warning("%s What is known of its models serves on" if self.ever_reached else "%s", reason)
            self.unavailable_since = datetime.now(UTC)
            self.unavailable.set()
        self.unavailable_reason = reason
