"""The node's end of handshakes: connections of gateways that have the token become links."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING, Final

from gateway.engines.transports.fairness import MAX_UNPROVEN, first_to_end
from gateway.engines.transports.message_stream import MessageStream
from gateway.engines.transports.server_link import ServerLink
from gateway.engines.wire import handshake, protocol
from gateway.engines.wire.fields import WireError
from gateway.system.log_throttle import LogThrottle

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.engines.transports.protocol import Receiver, Transport

    Accept = Callable[[Transport], Receiver]

logger = logging.getLogger(__name__)

_PROVE_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 2.0
_LOG_GROUPS: Final = 32  # of hosts: a caller may have very many addresses
_NUMBERS: Final = re.compile(r"\d+")
_NO_TOKEN: Final = "This node wants the token of its fleet: GATEWAY_FLEET_TOKEN differs, or is not set."  # noqa: S105 - no secret


class LinkServer:
    """What becomes of connections, wherever they come from: `create_stream` is called for each."""

    def __init__(self, accept: Accept, *, token: bytes, max_bytes: int) -> None:
        """`accept` returns the receiver of a new link, whose messages have at most `max_bytes`.

        Both ends prove that they have `token`, unless it is empty.
        """
        self._accept = accept
        self._token = token
        self._max_bytes = max_bytes
        self._links: dict[str, ServerLink] = {}
        self._streams: set[MessageStream] = set()
        self._unproven: dict[MessageStream, str] = {}  # the host of each, the oldest first
        self._era = 0  # one more whenever all links end
        self._ended = asyncio.Event()
        self._log_throttle = LogThrottle()

    @property
    def links(self) -> int:
        """The number of links that are open."""
        return len(self._links)

    def create_stream(self, prepare: Callable[[asyncio.BaseTransport], None]) -> MessageStream:
        """Return the protocol of a new connection, which `prepare` is given first; it may raise OSError."""
        caller, era = _UnprovenCaller(self), self._era

        def begin(stream: MessageStream, transport: asyncio.Transport) -> None:
            self._streams.add(stream)
            self._unproven[stream] = stream.peer
            caller.expect(stream)
            try:
                prepare(transport)
            except OSError as error:
                caller.refuse(str(error))
                return
            if era != self._era:
                caller.refuse("all links were ended while it connected")
                return
            if len(self._unproven) > MAX_UNPROVEN:
                first = first_to_end(self._unproven)
                del self._unproven[first]
                first.close("too many connections without a proof")
            caller.challenge()

        return MessageStream(
            caller, max_bytes=handshake.MAX_HANDSHAKE_BYTES, on_open=begin, on_end=self._forget
        )

    def end_links(self, reason: str) -> None:
        """End all links, and what would become one; their gateways may open new ones."""
        self._era += 1
        for link in list(self._links.values()):
            link.close(reason)
        for stream in list(self._unproven):
            stream.close(reason)

    async def close(self) -> None:
        """End all links and other connections, and wait until that is so."""
        self.end_links("the node ends")
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._all_ended()
        except TimeoutError:
            logger.warning("Links are still open at the end", extra={"event": "node_link_failed"})

    def admit(self, stream: MessageStream, challenge: handshake.Challenge, message: bytes) -> None:
        """Make a connection that answers its challenge right a link, or a part of one; else refuse it."""
        try:
            opening = handshake.decode_opening(message)
        except WireError as error:
            self.refuse(stream, f"no gateway of a fleet: it sent {error}", tell=False)
            return
        if reason := self._refusal(challenge, opening):
            self.refuse(stream, reason, tell=True)
            return
        self._unproven.pop(stream, None)
        proof = handshake.prove(self._token, "node", challenge, opening) if self._token else ""
        stream.send([handshake.encode(handshake.Verdict(proof))])
        if opening.lane == "large":
            self._links[opening.link].add_large(stream)
        else:
            self._links[opening.link] = ServerLink(
                stream,
                self._accept,
                max_bytes=self._max_bytes,
                on_end=lambda: self._end_link(opening.link),
            )

    def refuse(self, stream: MessageStream, reason: str, *, tell: bool) -> None:
        """End a connection. Log one refusal of a kind in a while: callers may try as often as they like."""
        peer = stream.peer
        kind = (_NUMBERS.sub("", reason)[:24], hash(peer) % _LOG_GROUPS)
        suppressed = self._log_throttle.suppressed_if_due(kind)
        if suppressed is not None:
            extra: dict[str, object] = {"event": "node_link_refused", "peer": peer, "reason": reason}
            if suppressed:
                extra["suppressed"] = suppressed
            logger.warning("Refused a connection of %s: %s", peer, reason, extra=extra)
        if tell:
            stream.send([handshake.encode(handshake.Verdict(refusal=reason))])
            stream.finish(reason)
        else:
            stream.close(reason)

    async def _all_ended(self) -> None:
        while self._streams:
            self._ended.clear()
            await self._ended.wait()

    def _refusal(self, challenge: handshake.Challenge, opening: handshake.Opening) -> str:
        """Return why a gateway is not accepted; empty if it is."""
        if self._token and not handshake.proves(opening.proof, self._token, "gateway", challenge, opening):
            return _NO_TOKEN
        if protocol.choose(opening.protocols) is None:
            return (
                f"This node speaks the protocols {protocol.spoken()}, and this gateway "
                f"{opening.protocols}: update the older one."
            )
        known = self._links.get(opening.link)
        if opening.lane == "large":
            return (
                "" if known is not None and not known.has_large else "There is no link that lacks this lane."
            )
        return "" if known is None else "The link has this lane already."

    def _end_link(self, link: str) -> None:
        self._links.pop(link, None)

    def _forget(self, stream: MessageStream) -> None:
        self._streams.discard(stream)
        self._unproven.pop(stream, None)
        self._ended.set()


class _UnprovenCaller:
    """The receiver of a connection until its first message, which must come in time."""

    def __init__(self, server: LinkServer) -> None:
        self._server = server
        self._challenge = handshake.new_challenge()
        self._stream: MessageStream | None = None
        self._timer: asyncio.TimerHandle | None = None

    def expect(self, stream: MessageStream) -> None:
        """Give the connection some time."""
        self._stream = stream
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_PROVE_SECONDS, self.refuse, "it said nothing in time")

    def challenge(self) -> None:
        """Send the challenge."""
        if self._stream is not None:
            self._stream.send([handshake.encode(self._challenge)])

    def on_message(self, message: bytes) -> None:
        """Have the server judge the answer."""
        if (stream := self._end()) is not None:
            self._server.admit(stream, self._challenge, message)

    def on_lost(self, reason: str) -> None:
        """Forget a connection; log why it was ended here, but not that it ended, as those of probes do."""
        if (stream := self._end()) is not None and stream.ended_here:
            self._server.refuse(stream, reason, tell=False)

    def refuse(self, reason: str) -> None:
        """End the connection, if it is not judged yet."""
        if (stream := self._end()) is not None:
            self._server.refuse(stream, reason, tell=False)

    def _end(self) -> MessageStream | None:
        if self._timer is not None:
            self._timer.cancel()
        stream, self._stream = self._stream, None
        return stream
