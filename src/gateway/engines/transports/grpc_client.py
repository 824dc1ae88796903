"""The gateway's end of a link over gRPC: two calls, so that no small message waits behind a large one."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final, Protocol

import grpc
from grpc import aio

from gateway.concurrency.threads import in_thread
from gateway.engines.wire import protocol
from gateway.engines.wire.messages import MAX_CONTROL_BYTES, MAX_OVERHEAD_BYTES
from workers.protocol.bounds import MAX_ANSWER_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gateway.engines.members import Member
    from gateway.engines.transports.protocol import Transport

_PATH: Final = f"/{protocol.SERVICE}/{protocol.METHOD}"
_REFUSALS: Final = frozenset(
    {
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
_KEEPALIVE_MS: Final = 30_000
_KEEPALIVE_TIMEOUT_MS: Final = 10_000
_OPTIONS: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.use_local_subchannel_pool", 1),  # a connection of its own for each lane
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),
)


class LinkReceiver(Protocol):
    """A receiver that also takes the reason why the node does not accept this gateway."""

    def on_message(self, message: bytes) -> None:
        """Take one whole message."""

    def on_refused(self, reason: str) -> None:
        """Take note of why the node does not accept this gateway. `on_lost` follows."""

    def on_lost(self, reason: str) -> None:
        """Take note that the link has ended; called once."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the authorities of the nodes, and the certificate and key that nodes are shown, if any."""

    authorities: Path
    certificate: Path | None = None
    key: Path | None = None


class GrpcConnector:
    """A connector that opens links to nodes over gRPC. Used from one event loop."""

    def __init__(
        self,
        gateway: str,
        *,
        token: Callable[[], str],
        tls: TlsFiles | None = None,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        """`gateway` is the name of this process. `token` returns what nodes are shown; empty: nothing.

        A node that sends a message that is larger than an answer may be loses its link.

        Token and files are read for each link, so that new ones are used without a restart.
        """
        self._gateway = gateway
        self._token = token
        self._tls = tls
        self._largest = max(max_answer_bytes, MAX_CONTROL_BYTES) + MAX_OVERHEAD_BYTES
        self._closing: set[asyncio.Task[None]] = set()

    async def connect(self, member: Member, receiver: LinkReceiver) -> Transport:
        """Return a transport that is on its way. Raise OSError if a file cannot be read."""
        credentials = None if self._tls is None else await in_thread(_credentials, self._tls)
        token = await in_thread(self._token)
        metadata = [
            (protocol.PROTOCOL_KEY, protocol.spoken()),
            (protocol.GATEWAY_KEY, self._gateway),
            (protocol.LINK_KEY, token_hex(16)),
        ]
        if token:
            metadata.append((protocol.AUTHORIZATION_KEY, f"Bearer {token}"))
        options: list[tuple[str, str | int]] = [*_OPTIONS, ("grpc.max_receive_message_length", self._largest)]
        if member.tls_name:
            options.append(("grpc.ssl_target_name_override", member.tls_name))

        def open_channel() -> aio.Channel:
            if credentials is None:
                return aio.insecure_channel(member.address, options)
            return aio.secure_channel(member.address, credentials, options)

        return GrpcTransport(receiver, open_channel, metadata=metadata, on_closed=self._close_later)

    async def close(self) -> None:
        """Wait until the channels of closed links are gone."""
        if self._closing:
            await asyncio.wait(self._closing)

    def _close_later(self, lanes: Sequence[_Lane]) -> None:
        task = asyncio.create_task(_close(lanes), name="close links")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class GrpcTransport:
    """The calls of one link. The second one, for large messages, begins once the node has answered."""

    def __init__(
        self,
        receiver: LinkReceiver,
        open_channel: Callable[[], aio.Channel],
        *,
        metadata: Sequence[tuple[str, str]],
        on_closed: Callable[[Sequence[_Lane]], None],
    ) -> None:
        self._receiver = receiver
        self._open_channel = open_channel
        self._metadata = metadata
        self._on_closed = on_closed
        self._closed = False
        self._lanes: list[_Lane] = []
        self._small = self._open_lane(protocol.SMALL_LANE)
        self._large: _Lane | None = None

    def send(self, message: Sequence[bytes | memoryview]) -> None:
        """Send the parts of one message, over the lane for its size."""
        if self._closed:
            return
        whole = b"".join(message)
        if len(whole) > protocol.LARGE_MESSAGE_BYTES and self._large is not None:
            self._large.send(whole)
        else:
            self._small.send(whole)

    @property
    def unsent_bytes(self) -> int:
        """The bytes that no call has taken yet."""
        return sum(lane.unsent_bytes for lane in self._lanes)

    def call_when_free(self, callback: Callable[[], None]) -> bool:
        """Call once, as soon as the lane of small messages has taken all; return False if it has already.

        Messages that would wait for it can be gathered into one meanwhile, and each one costs 0.1 ms.
        """
        if self._closed or not self._small.unsent_bytes:
            return False
        self._small.on_free = callback
        return True

    def close(self) -> None:
        """End both calls. The receiver's `on_lost` is called later, if it was not."""
        self._end("The link was closed.")

    def _open_lane(self, name: str) -> _Lane:
        metadata = aio.Metadata(*self._metadata, (protocol.LANE_KEY, name))
        lane = _Lane(self._open_channel(), metadata, on_message=self._on_message, on_ended=self._on_ended)
        self._lanes.append(lane)
        return lane

    def _on_message(self, message: bytes) -> None:
        if self._closed:
            return
        if self._large is None:
            self._large = self._open_lane(protocol.LARGE_LANE)
        self._receiver.on_message(message)

    def _on_ended(self, code: grpc.StatusCode, details: str) -> None:
        if self._closed:
            return
        if code in _REFUSALS:
            self._receiver.on_refused(details or code.name)
        self._end(details or code.name)

    def _end(self, reason: str) -> None:
        if self._closed:
            return
        self._closed = True
        for lane in self._lanes:
            lane.close()
        self._on_closed(self._lanes)
        asyncio.get_running_loop().call_soon(self._receiver.on_lost, reason)


class _Lane:
    """One call: a task writes what was given to it, in order, and another one reads."""

    def __init__(
        self,
        channel: aio.Channel,
        metadata: aio.Metadata,
        *,
        on_message: Callable[[bytes], None],
        on_ended: Callable[[grpc.StatusCode, str], None],
    ) -> None:
        self.channel = channel
        self.unsent_bytes = 0
        self.on_free: Callable[[], None] | None = None
        self._on_message = on_message
        self._on_ended = on_ended
        self._queue: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._call: Any = channel.stream_stream(_PATH)(metadata=metadata)
        self._tasks: tuple[asyncio.Task[None], ...] = (
            asyncio.create_task(self._write(), name="write to node"),
            asyncio.create_task(self._read(), name="read from node"),
        )

    def send(self, message: bytes) -> None:
        self._queue.append(message)
        self.unsent_bytes += len(message)
        self._wake.set()

    def close(self) -> None:
        self._queue.clear()
        self.unsent_bytes = 0
        self._call.cancel()
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()

    async def disconnect(self) -> None:
        """Close the connection, which stays open for as long as anything refers to the call."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks, self._call = (), None
        await self.channel.close()

    async def _write(self) -> None:
        try:
            while True:
                while self._queue:
                    message = self._queue.popleft()
                    await self._call.write(message)
                    self.unsent_bytes -= len(message)
                if (on_free := self.on_free) is not None:
                    self.on_free = None
                    on_free()
                    continue
                self._wake.clear()
                await self._wake.wait()
        except (aio.AioRpcError, asyncio.InvalidStateError):
            return  # the call has ended, which its reader reports

    async def _read(self) -> None:
        try:
            while (message := await self._call.read()) is not aio.EOF:
                self._on_message(message)
            self._on_ended(await self._call.code(), await self._call.details() or "The node ended the link.")
        except aio.AioRpcError as error:
            self._on_ended(error.code(), error.details() or "")


def _credentials(files: TlsFiles) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        files.authorities.read_bytes(),
        files.key.read_bytes() if files.key else None,
        files.certificate.read_bytes() if files.certificate else None,
    )


async def _close(lanes: Sequence[_Lane]) -> None:
    for lane in lanes:
        await lane.disconnect()
