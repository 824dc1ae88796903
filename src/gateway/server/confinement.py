"""Say at the start how model code is confined."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.system.wall import WallStatus

logger = logging.getLogger(__name__)


def is_sufficient(wall: WallStatus) -> bool:
    """Return whether the gateway may start; log why not if the settings require more than there is."""
    if wall.insufficient:
        reasons = "; ".join(wall.support.missing)
        logger.error(
            "Cannot start: GATEWAY_WORKER_WALL is require, but %s", reasons, extra={"event": "start_failed"}
        )
    return not wall.insufficient


def report(wall: WallStatus) -> None:
    """Log how workers are confined: a warning if that is not all."""
    level, event = (
        (logging.INFO, "workers_confined") if wall.complete else (logging.WARNING, "wall_incomplete")
    )
    logger.log(level, "%s", wall.text, extra={"event": event, **wall.to_json()})
