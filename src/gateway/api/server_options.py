"""The options of aiohttp's server for this application."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from aiohttp.http_exceptions import HttpProcessingError

from gateway.api.malformed import MAX_HEADER_BYTES, MAX_REQUEST_LINE_BYTES

if TYPE_CHECKING:
    from gateway.settings import Settings

_LINGERING_SECONDS: Final = 2.0
"""How long a client may go on sending a body that was refused. Its response was sent before."""


def server_options(settings: Settings) -> dict[str, Any]:
    """Return the keyword arguments for aiohttp's `AppRunner`."""
    server_log = logging.getLogger("aiohttp.server")
    server_log.addFilter(_is_not_malformed_request)
    return {
        "access_log": None,
        "auto_decompress": False,  # gateway.api.body.decompression does it, off the event loop
        "handler_cancellation": True,  # a disconnect cancels the request, and so its queued prediction
        "keepalive_timeout": settings.idle_connection_seconds,
        "lingering_time": _LINGERING_SECONDS,
        "logger": server_log,
        "max_field_size": MAX_HEADER_BYTES,
        "max_line_size": MAX_REQUEST_LINE_BYTES,
    }


def _is_not_malformed_request(record: logging.LogRecord) -> bool:
    """Return False for the log record of a request that is not valid HTTP; any client can cause those."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
