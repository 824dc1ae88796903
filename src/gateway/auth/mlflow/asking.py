"""What all callers share when MLflow is asked about them."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal

from gateway.auth.errors import AuthError, AuthUnavailable
from gateway.auth.mlflow.background import Refreshes
from gateway.auth.mlflow.slots import Slots
from gateway.concurrency.singleflight import SingleFlight
from gateway.errors import GatewayError
from gateway.mlflow_client import NotAuthenticated

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from gateway.auth.mlflow.bounds import Bounds
    from gateway.auth.mlflow.served import ServedNames
    from workers.metrics import Counters

logger = logging.getLogger(__name__)

InvokeRight = Literal["read", "use"]

_LOG_SECONDS: Final = 60.0
_AWAY: Final = "MLflow cannot be asked about these credentials now; try again later."


class Asking:
    """The bounds, slots and running calls of all callers together."""

    def __init__(
        self,
        served: ServedNames,
        *,
        invoke: InvokeRight,
        bounds: Bounds,
        counters: Counters,
        clock: Callable[[], float],
    ) -> None:
        self.served = served
        self.counters = counters
        self.invoke = invoke
        self.bounds = bounds
        self.clock = clock
        self.slots = Slots(bounds.calls, waiting=bounds.waiting, waiting_of_one=bounds.waiting_of_one)
        self.flight: SingleFlight[Hashable] = SingleFlight()
        self.refreshes = Refreshes()
        self._silent_until = clock()

    @contextmanager
    def mlflow_call(self) -> Iterator[None]:
        """Raise AuthUnavailable for what MLflow fails with in the block; let NotAuthenticated pass."""
        try:
            yield
        except (NotAuthenticated, AuthError):
            raise
        except GatewayError as error:
            self._log(error)
            raise AuthUnavailable(_AWAY, source="mlflow") from error

    def _log(self, error: Exception) -> None:
        if self.clock() >= self._silent_until:
            self._silent_until = self.clock() + _LOG_SECONDS
            logger.warning(
                "MLflow cannot be asked about callers: %s",
                error,
                extra={"event": "mlflow_rights_unavailable"},
            )

    async def close(self) -> None:
        """Cancel what runs, and wait for its end."""
        await self.refreshes.close()
        await self.flight.close()
