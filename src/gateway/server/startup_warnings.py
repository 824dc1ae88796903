"""What an operator should know of the settings and of this process' user, said at the start."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gateway.system import privileges

if TYPE_CHECKING:
    from gateway.settings import Settings

logger = logging.getLogger(__name__)


def log_service_links(settings: Settings) -> None:
    """Warn of variables that are not the operator's."""
    if names := settings.service_links:
        logger.warning(
            "Ignored %d variables that Kubernetes set for Services, not this pod (%s): "
            "set enableServiceLinks: false in its spec",
            len(names),
            ", ".join(names),
            extra={"event": "service_links_ignored", "names": names},
        )


def log_exposure(settings: Settings) -> None:
    """Warn of secrets that models can read, and of files that others may have written and are not used."""
    if exposure := privileges.exposure():
        logger.warning("%s: %s", exposure, privileges.ADVICE, extra={"event": "privileged_user"})
    for text in settings.client_files.ignored:
        logger.warning("%s", text, extra={"event": "client_file_ignored"})
