"""One link to a node, the gateway's end: requests go out with an id, and replies come back in any order."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import count
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Protocol

from gateway.engines.fleet.control_rate import ControlRate
from gateway.engines.fleet.outbox import LARGE_BODY_BYTES, Outbox, body_size
from gateway.engines.fleet.pending import PendingAnswers
from gateway.engines.wire.control import Done, Failed, GatewayHello, ModelNumber, NodeHello, Unload
from gateway.engines.wire.fields import WireError
from gateway.engines.wire.messages import (
    CONTROL,
    JobFailed,
    Replies,
    decode_from_node,
    encode_cancel,
    encode_control,
)
from gateway.engines.wire.protocol import NEWEST, OLDEST
from workers.errors import NodeLost, PredictionTimeout
from workers.protocol.messages import CloseStream, OpenStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.engines.transports.protocol import Transport
    from gateway.engines.wire.control import GatewayControl, NodeControl
    from gateway.engines.wire.state import NodeState
    from workers.protocol.messages import Job, ModelKey, WorkerRequest

_CONTROL: Final = bytes([CONTROL])
_LOST: Final = "The node that had the request was lost."


class LinkOwner(Protocol):
    """What a link tells of. Each method is called from the event loop, and returns at once."""

    def on_hello(self, hello: NodeHello) -> None:
        """Take note of which node it is. The link speaks a known protocol."""

    def on_state(self, state: NodeState) -> None:
        """Take the node's state."""

    def on_refused(self, reason: str) -> None:
        """Take note that node and gateway do not accept each other. `on_lost` follows."""

    def on_lost(self, reason: str, jobs: int) -> None:
        """Take note that the link ended, with that many jobs in flight; called once."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a gateway tells of itself: its name, and its version."""

    gateway: str
    product: str


class Link:
    """The gateway's end of one link. It is used once.

    `heard` is set by each message of the node; the owner clears it to see whether another one comes.
    """

    def __init__(self, owner: LinkOwner, *, request_seconds: float) -> None:
        """A job without an answer after `request_seconds` fails, as its node should have said before."""
        self._loop = asyncio.get_running_loop()
        self._owner = owner
        self._pending = PendingAnswers(request_seconds)
        self._calls: dict[int, asyncio.Future[float]] = {}
        self._numbers: dict[ModelKey, int] = {}
        self._told: dict[ModelKey, int] = {}  # with those that the node may not have read yet
        self._confirming: dict[int, ModelKey] = {}  # by the id of a call that it answers after it
        self._ids = count(1)
        self._abandoned: dict[int, tuple[ModelKey, int]] = {}  # opening streams by job: the stream's id
        self._outbox: Outbox | None = None
        self._ping = (0, 0.0)
        self._control_rate = ControlRate(self._loop.time())
        self.heard = True
        self.lost = False
        self.round_trip: float | None = None

    def open(self, transport: Transport, greeting: Greeting) -> None:
        """Greet the node over a transport whose receiver this link is."""
        if self.lost:
            transport.close()
            return
        self._outbox = Outbox(transport)
        self.send(GatewayHello(greeting.gateway, NEWEST, greeting.product))

    def close(self, reason: str) -> None:
        """End the link; what it has in flight fails as lost. Do nothing if it has ended."""
        self.on_lost(reason)

    @property
    def in_flight(self) -> int:
        """The number of jobs without an answer."""
        return len(self._pending)

    @property
    def waiting(self) -> Iterable[asyncio.Future[Any]]:
        """The futures of those jobs."""
        return self._pending.futures

    # What the node is asked

    async def request(self, key: ModelKey, request: WorkerRequest) -> Any:
        """Return the node's reply. Raise NodeLost, PredictionTimeout, or what the node raised."""
        number = self._numbers.get(key)
        if number is None:
            number = await self._introduce(key, request)
        if self.lost or self._outbox is None:
            raise NodeLost(_LOST)
        job_id = next(self._ids)
        future = self._loop.create_future()
        self._pending.add(job_id, future)
        self._outbox.add(job_id, number, request)
        try:
            return await future
        except asyncio.CancelledError:
            self._abandon(job_id, key, request)
            raise

    async def open_stream(self, key: ModelKey, job: Job) -> tuple[int, Any]:
        """Return the id of a new stream and its first chunk. Raise what `request` raises."""
        stream_id = next(self._ids)
        return stream_id, await self.request(key, OpenStream(job, stream_id))

    def close_stream(self, key: ModelKey, stream_id: int) -> None:
        """Have the node close a stream, if it is open. Its reply is dropped."""
        if not self.lost and self._outbox is not None:
            self._outbox.add(next(self._ids), self._told[key], CloseStream(stream_id))

    async def call(self, create: Callable[[int], GatewayControl]) -> float:
        """Send the message that `create` returns for an id; return the seconds of a download once it is done.

        Raise NodeLost, or what the node raised.
        """
        if self.lost:
            raise NodeLost(_LOST)
        call_id = next(self._ids)
        future: asyncio.Future[float] = self._loop.create_future()
        self._calls[call_id] = future
        try:
            self.send(create(call_id))
            return await future
        finally:
            del self._calls[call_id]

    def send(self, message: GatewayControl) -> None:
        """Send a control message."""
        if not self.lost and self._outbox is not None:
            self._outbox.send(encode_control(message))

    def ping(self) -> None:
        """Measure the round trip: have the node unload nothing, which it answers at once."""
        self._ping = (next(self._ids), perf_counter())
        self.send(Unload(self._ping[0], ()))

    def expire(self, now: float) -> None:
        """Fail the jobs that the node should have answered long ago."""
        for job_id in self._pending.expire(now):
            self._pending.fail(job_id, PredictionTimeout("The node did not answer in time."))
            if self._outbox is not None:
                self._outbox.send(encode_cancel(job_id))

    # What the transport reports

    def on_message(self, message: bytes) -> None:
        """Take a message of the node; one that is not valid ends the link."""
        self.heard = True
        if self.lost:
            return
        try:
            if message[:1] == _CONTROL:
                self._control_rate.take(len(message), self._loop.time())
            content = decode_from_node(message)
            if type(content) is Replies:
                self._pending.answer(content.ids, content.replies)
                if self._abandoned:
                    self._close_abandoned(content.ids)
            elif type(content) is JobFailed:
                self._abandoned.pop(content.id, None)
                self._pending.fail(content.id, content.error)
            else:
                self._on_control(content)  # type: ignore[arg-type] # mypy does not narrow by `type(…) is`
        except WireError as error:
            self.close(f"It sent {error}.")

    def on_lost(self, reason: str) -> None:
        """End the link: every job in flight is lost."""
        if self.lost:
            return
        self.lost = True
        if self._outbox is not None:
            self._outbox.close()
        jobs = len(self._pending)
        self._pending.fail_all(_LOST)
        for call in self._calls.values():
            if not call.done():
                call.set_exception(NodeLost(_LOST))
        self._owner.on_lost(reason, jobs)

    def _on_control(self, message: NodeControl) -> None:
        if isinstance(message, Done):
            self._end_call(message.id, message.download_seconds)
        elif isinstance(message, Failed):
            self._end_call(message.id, message.error)
        elif isinstance(message, NodeHello):
            self._on_hello(message)
        else:
            self._owner.on_state(message.state)

    def _on_hello(self, hello: NodeHello) -> None:
        if OLDEST <= hello.protocol <= NEWEST:
            self._owner.on_hello(hello)
            return
        reason = f"It speaks protocol {hello.protocol}, and this gateway {OLDEST} to {NEWEST}."
        self._owner.on_refused(reason)
        self.close(reason)

    def _end_call(self, call_id: int, outcome: float | Exception) -> None:
        if (key := self._confirming.pop(call_id, None)) is not None:
            self._numbers[key] = self._told[key]
        if call_id == self._ping[0]:
            self.round_trip = perf_counter() - self._ping[1]
        call = self._calls.get(call_id)
        if call is None or call.done():
            return
        if isinstance(outcome, Exception):
            call.set_exception(outcome)
        else:
            call.set_result(outcome)

    async def _introduce(self, key: ModelKey, request: WorkerRequest) -> int:
        """Return the number of a model that the node may not know, once this request may have it.

        A large message may overtake the one that tells the number, so it waits until the node has read that.
        """
        number = self._told.get(key)
        if number is None:
            number = self._told[key] = len(self._told) + 1
            self.send(ModelNumber(number, key))
            call_id = next(self._ids)
            self._confirming[call_id] = key
            self.send(Unload(call_id, ()))
        if body_size(request) > LARGE_BODY_BYTES:
            await self.call(lambda call_id: Unload(call_id, ()))
        return number

    def _abandon(self, job_id: int, key: ModelKey, request: WorkerRequest) -> None:
        """Tell the node that the client of a job went away, and drop its answer.

        A stream that it opens is closed now, and again after its first chunk, if that is on its way: a large
        request may be overtaken by both messages.
        """
        self._pending.discard(job_id)
        if self.lost or self._outbox is None:
            return
        self._outbox.send(encode_cancel(job_id))
        if type(request) is OpenStream:
            self._abandoned[job_id] = (key, request.stream_id)
            self.close_stream(key, request.stream_id)

    def _close_abandoned(self, ids: tuple[int, ...]) -> None:
        for job_id in self._abandoned.keys() & set(ids):
            self.close_stream(*self._abandoned.pop(job_id))
