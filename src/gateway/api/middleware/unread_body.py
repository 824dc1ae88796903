"""Responses to requests whose body was refused before all of it was read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import web


def has_unread_body(request: web.Request) -> bool:
    """Return whether a part of the request's body was not read, and may still be on its way."""
    return request.can_read_body and not request.content.is_eof()


async def send_before_body(request: web.Request, response: web.StreamResponse) -> None:
    """Send the whole response and end the gateway's side of the connection, but not the client's side.

    The client sees the end of the response at once, also if it is still sending. aiohttp then discards what
    the client sends, for its `lingering_time`. Closing at once would reset the connection, and a reset can
    destroy the response on its way (RFC 9112, section 9.6).
    """
    response.force_close()
    await response.prepare(request)
    await response.write_eof()
    transport = request.transport
    if transport is not None and transport.can_write_eof():
        transport.write_eof()
