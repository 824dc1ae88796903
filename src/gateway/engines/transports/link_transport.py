"""The gateway's end of a link: two connections, so that no small message waits behind a large one."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from gateway.engines.wire.protocol import LARGE_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.engines.transports.message_stream import MessageStream
    from gateway.engines.transports.protocol import Part, Receiver

logger = logging.getLogger(__name__)

_RETRY_SECONDS: Final = 5.0


class LinkTransport:
    """A transport over one open connection, which opens another one for large messages.

    Until that is there, which may be never, they take the first. The link ends with either.
    """

    def __init__(
        self,
        small: MessageStream,
        receiver: Receiver,
        *,
        max_bytes: int,
        open_large: Callable[[], Awaitable[MessageStream]],
    ) -> None:
        """`open_large` returns the second connection; raises OSError."""
        self._small = small
        self._large: MessageStream | None = None
        self._receiver = receiver
        self._max_bytes = max_bytes
        self._closed = False
        self._take(small)
        self._opening = asyncio.create_task(self._open_large(open_large), name="open a large lane")

    def send(self, message: Sequence[Part]) -> None:
        """Send the parts of one message, over the connection for its size."""
        if self._closed:
            return
        if self._large is not None and sum(map(len, message)) > LARGE_MESSAGE_BYTES:
            self._large.send(message)
        else:
            self._small.send(message)

    @property
    def unsent_bytes(self) -> int:
        """The bytes that neither connection has given to the system."""
        return self._small.unsent_bytes + (0 if self._large is None else self._large.unsent_bytes)

    def close(self) -> None:
        """End both connections. The receiver's `on_lost` is called later, if it was not."""
        self._end("The link was closed.")

    def on_message(self, message: bytes) -> None:
        """Pass a message of either connection on."""
        if not self._closed:
            self._receiver.on_message(message)

    def on_lost(self, reason: str) -> None:
        """End the link with one of its connections."""
        self._end(reason)

    def _take(self, stream: MessageStream) -> None:
        stream.receiver, stream.max_bytes = self, self._max_bytes
        stream.set_reading(True)

    async def _open_large(self, open_large: Callable[[], Awaitable[MessageStream]]) -> None:
        try:
            large = await _keep_trying(open_large)
        except Exception:
            logger.exception("A link failed", extra={"event": "node_link_failed"})
            self._end("no connection for large messages")
            return
        if self._closed:
            large.close()
        else:
            self._large = large
            self._take(large)

    def _end(self, reason: str) -> None:
        if self._closed:
            return
        self._closed = True
        if self._opening is not asyncio.current_task():
            self._opening.cancel()
        self._small.close()
        if self._large is not None:
            self._large.close()
        asyncio.get_running_loop().call_soon(self._receiver.on_lost, reason)


async def _keep_trying(open_large: Callable[[], Awaitable[MessageStream]]) -> MessageStream:
    """Return the second connection, which may be refused for a while: the link does without meanwhile."""
    is_logged = False
    while True:
        try:
            return await open_large()
        except OSError as error:
            if not is_logged:
                text = "No connection for large messages, which take that of small ones: %s"
                logger.warning(text, error, extra={"event": "node_link_failed", "reason": str(error)})
            is_logged = True
        await asyncio.sleep(_RETRY_SECONDS)
