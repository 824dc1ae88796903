"""The link to a node, which can go half-open: what is connected is never answered again, and never closed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from tests.support.relay import Relay

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

_FLOWS: Final[ContextVar[asyncio.Event]] = ContextVar("flows")


class Wire(Relay):
    """A relay whose present connections can be made to forward nothing more; new ones forward as ever."""

    def __init__(self, to: str) -> None:
        super().__init__(to)
        self._flows = _open()

    @property
    def address(self) -> str:
        """Where gateways find the node."""
        return self.url.removeprefix("http://")

    def go_half_open(self) -> asyncio.Event:
        """Stop the present connections; they go on, if anything of them is left, once the event is set."""
        stopped, self._flows = self._flows, _open()
        stopped.clear()
        return stopped

    async def _relay(self, reader: StreamReader, writer: StreamWriter) -> None:
        _FLOWS.set(self._flows)
        with suppress(OSError):  # the node is away: so is this connection
            await super()._relay(reader, writer)
        writer.close()

    async def _before(self, data: bytes) -> None:
        await _FLOWS.get().wait()


def _open() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event
