"""Whether MLflow answers: learnt from every call, logged when it changes."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from gateway.errors import GatewayError, UpstreamAway, UpstreamSlow, UpstreamWrong, kind_of
from gateway.mlflow_client import CallRefused
from workers.metrics import CounterSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workers.metrics import Counters

LOOKUPS: Final = CounterSpec(
    "mlflow_lookups",
    "What was asked of MLflow, by how that ended: answered (a refusal in MLflow's own words, too), away, "
    "slow, or wrong.",
    ("outcome",),
)

logger = logging.getLogger(__name__)


class Standing:
    """`reached` once any call has succeeded; `away` tells why the last one failed, None if it did not.

    `since` is when that began; `doubtful` is set until MLflow was reached, and while it is away.
    """

    def __init__(self, tally: Counters) -> None:
        self._tally = tally
        self.reached = False
        self.away: str | None = None
        self.since: datetime | None = None
        self.doubtful = asyncio.Event()
        self.doubtful.set()

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Learn from how the calls inside end; a refusal in MLflow's own words is an answer too."""
        try:
            yield
        except CallRefused:
            self._answers()
            raise
        except (UpstreamWrong, UpstreamAway, UpstreamSlow) as error:
            self._fails(error)
            raise
        except GatewayError:
            self._answers()
            raise
        else:
            self._answers()

    def _answers(self) -> None:
        self._tally.increment(LOOKUPS, "answered")
        if self.away is not None:
            logger.info("MLflow answers again")
        self.reached, self.away, self.since = True, None, None
        self.doubtful.clear()

    def _fails(self, error: UpstreamWrong | UpstreamAway | UpstreamSlow) -> None:
        self._tally.increment(LOOKUPS, kind_of(error))
        reason = str(error)
        if self.away is None:
            logger.warning("%s What is known of its models serves on" if self.reached else "%s", reason)
            self.since = datetime.now(UTC)
            self.doubtful.set()
        self.away = reason
