"""The gateway's end of a connection's handshake."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gateway.engines.transports.message_stream import MessageStream
from gateway.engines.transports.protocol import LinkRefused
from gateway.engines.wire import handshake, protocol
from gateway.engines.wire.fields import WireError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

_OPEN_SECONDS: Final = 5.0
_NO_PROOF: Final = (
    "The node does not prove that it has the token of this fleet: GATEWAY_FLEET_TOKEN differs there, or is "
    "not set."
)


async def open_lane(
    connect: Callable[[Callable[[], MessageStream]], Awaitable[tuple[Any, MessageStream]]],
    *,
    link: str,
    lane: protocol.Lane,
    token: bytes,
) -> MessageStream:
    """Return a connection that the node has accepted, which is not read.

    Set its receiver and `max_bytes` at once, and then read: the node may have sent messages already.
    `connect` is given what creates the protocol of a connection, as the loop's methods are. Without `token`
    nothing is proven. Raise LinkRefused, or another OSError.
    """
    answers = _Answers()
    try:
        async with asyncio.timeout(_OPEN_SECONDS):
            _, stream = await connect(answers.create_stream)
            try:
                await _shake_hands(stream, answers, link=link, lane=lane, token=token)
            except BaseException:
                stream.close()
                raise
    except TimeoutError as error:
        raise ConnectionError(f"no link within {_OPEN_SECONDS:g} s") from error
    except WireError as error:
        raise ConnectionError(f"no node of a fleet answers there: it sent {error}") from error
    return stream


async def _shake_hands(
    stream: MessageStream, answers: _Answers, *, link: str, lane: protocol.Lane, token: bytes
) -> None:
    """Prove that this gateway has the token, and see whether the node has. Raise as `open_lane` does."""
    challenge = handshake.decode_challenge(await answers.next())
    if protocol.choose(challenge.protocols) is None:
        raise LinkRefused(
            f"The node speaks the protocols {challenge.protocols}, and this gateway {protocol.spoken()}: "
            "update the older one."
        )
    opening = handshake.new_opening(challenge, link, lane, token)
    stream.send([handshake.encode(opening)])
    verdict = handshake.decode_verdict(await answers.next())
    if verdict.refusal:
        raise LinkRefused(verdict.refusal)
    if token and not handshake.proves(verdict.proof, token, "node", challenge, opening):
        raise LinkRefused(_NO_PROOF)
    if not stream.is_open:
        raise ConnectionError(answers.lost_reason)


class _Answers:
    """The receiver of a connection until the node has accepted it. What follows a message waits unread."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._stream: MessageStream | None = None
        self.lost_reason = ""

    def create_stream(self) -> MessageStream:
        """Return the protocol of the connection."""
        self._stream = MessageStream(self, max_bytes=handshake.MAX_HANDSHAKE_BYTES)
        return self._stream

    def on_message(self, message: bytes) -> None:
        self._messages.put_nowait(message)
        if self._stream is not None:
            self._stream.set_reading(False)

    def on_lost(self, reason: str) -> None:
        self.lost_reason = reason
        self._messages.put_nowait(None)

    async def next(self) -> bytes:
        """Return the next message. Raise ConnectionError at the end of the connection."""
        if self._stream is not None:
            self._stream.set_reading(True)
        message = await self._messages.get()
        if message is None:
            raise ConnectionError(self.lost_reason)
        return message
