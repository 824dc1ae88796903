"""Say at the start how model code is confined."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.system.wall import WallStatus

logger = logging.getLogger(__name__)


def report(wall: WallStatus) -> bool:
    """Log how workers are confined; return False if that is less than the settings require."""
    if wall.insufficient:
        reasons = "; ".join(wall.support.missing)
        logger.error(
            "Cannot start: GATEWAY_WORKER_WALL is require, but %s", reasons, extra={"event": "start_failed"}
        )
        return False
    event = "workers_confined" if wall.complete else "wall_incomplete"
    logger.log(
        logging.INFO if wall.complete else logging.WARNING,
        "%s",
        wall.text,
        extra={"event": event, **wall.to_json()},
    )
    return True
