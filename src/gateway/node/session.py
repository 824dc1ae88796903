"""One link to a gateway, the node's end: its requests go to the engine, and the replies back."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.engines.wire.control import (
    Done,
    Failed,
    GatewayHello,
    Load,
    ModelNumber,
    NodeHello,
    Owners,
    Pins,
    Probe,
    Unload,
)
from gateway.engines.wire.fields import WireError
from gateway.engines.wire.messages import Cancel, Jobs, decode_from_gateway
from gateway.engines.wire.protocol import NEWEST, OLDEST
from gateway.node.held_bodies import HeldBodies
from gateway.node.outbox import Outbox
from gateway.node.streams import LinkStreams
from workers.errors import CapacityExceeded, ModelNotLoaded, QueueFull, WorkerError
from workers.protocol.messages import Job, OpenStream, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from gateway.engines.local import LocalEngine
    from gateway.engines.transports.protocol import Transport
    from gateway.engines.wire.control import GatewayControl
    from gateway.node.loads import NodeLoads
    from gateway.node.pins import NodePins
    from gateway.node.state import StateFeed
    from workers.protocol.messages import CloseStream, ModelKey, NextChunk
    from workers.submission import Submission

logger = logging.getLogger(__name__)

_MAX_MODELS: Final = 20_000
_MAX_CALLS: Final = 1_000
_GREETING_SECONDS: Final = 10.0
_UNCOUNTED_BYTES: Final = 16 * 1024  # the queues of the models bound how many smaller bodies there are


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeParts:
    """What all links of a node share. `hello` returns what the node tells of itself.

    A link's large bodies have at most `max_body_bytes` together, unless it is one. `on_end` is called with
    each link that ended.
    """

    engine: LocalEngine
    loads: NodeLoads
    pins: NodePins
    feed: StateFeed
    hello: Callable[[], NodeHello]
    max_body_bytes: int
    on_end: Callable[[Session], None]


class Session:
    """The node's end of a link. The gateway greets first; a message that is not valid ends the link."""

    def __init__(self, parts: NodeParts, transport: Transport) -> None:
        self._parts = parts
        self._transport = transport
        self._submit = parts.engine.submit
        self._outbox = Outbox(transport, on_stalled=self._on_stalled)
        self._held = HeldBodies(parts.max_body_bytes)
        self._streams = LinkStreams(parts.engine, self._outbox, on_answered=self._held.discard)
        self._jobs: dict[int, Submission] = {}
        self._models: dict[int, ModelKey] = {}
        self._calls: dict[int, tuple[ModelKey | None, asyncio.Task[None]]] = {}
        self._ended = False
        self.gateway = ""
        loop = asyncio.get_running_loop()
        self._greeting_timer = loop.call_later(_GREETING_SECONDS, self._end, "no greeting in time")

    @property
    def busy(self) -> bool:
        """Whether any request of the gateway has no reply yet, or a stream is open."""
        return bool(self._jobs) or self._streams.busy

    def on_message(self, message: bytes) -> None:
        """Take a message of the gateway."""
        if self._ended:
            return
        try:
            content = decode_from_gateway(message)
            if type(content) is Jobs:
                self._take_jobs(content)
            elif type(content) is Cancel:
                self._cancel(content.id)
            else:
                self._take_control(content)  # type: ignore[arg-type] # mypy does not narrow by `type(…) is`
        except WireError as error:
            self._end(f"the gateway sent {error}")
        except Exception:
            logger.exception("A message of a gateway failed", extra={"event": "node_link_failed"})
            self._end("a fault of the node")

    def on_lost(self, reason: str) -> None:
        """Drop what the gateway has asked for; models stay loaded, and loads go on."""
        if self._ended:
            return
        self._ended = True
        self._greeting_timer.cancel()
        self._parts.feed.unsubscribe(self._send_state)
        for submission in self._jobs.values():
            submission.cancel()
        dropped = len(self._jobs)
        self._jobs.clear()
        self._streams.close()
        for _, task in self._calls.values():
            task.cancel()
        self._parts.pins.release(self)
        self._outbox.close()
        if self.gateway:
            extra = {
                "event": "node_link_closed",
                "gateway": self.gateway,
                "reason": reason,
                "dropped": dropped,
            }
            logger.info("The link to gateway %s has ended: %s", self.gateway, reason, extra=extra)
        self._parts.on_end(self)

    def refuse_jobs(self) -> None:
        """Answer further requests as if no model were loaded, so that the gateway asks other nodes."""
        self._submit = _refuse
        self._streams.refuse()

    def close(self, reason: str) -> None:
        """End the link."""
        self._transport.close()
        self.on_lost(reason)

    def _end(self, reason: str) -> None:
        """End the link for what the gateway sent, or did not read."""
        logger.warning(
            "Ended the link to gateway %s: %s",
            self.gateway or "without a name",
            reason,
            extra={"event": "node_link_refused", "gateway": self.gateway, "reason": reason},
        )
        self.close(reason)

    # Requests

    def _take_jobs(self, jobs: Jobs) -> None:
        models, new = self._models, set(jobs.ids)
        in_use = not (self._jobs.keys().isdisjoint(new) and self._streams.job_ids.isdisjoint(new))
        if in_use or len(new) < len(jobs.ids):
            raise WireError("a request whose id is in use")
        taken: dict[int, tuple[list[int], list[Job]]] = {}
        for job_id, number, request in zip(*jobs, strict=True):
            if number not in models:
                raise WireError("a request whose model has no number")
            if type(request) is not Job:
                self._take_stream(job_id, models[number], request)  # type: ignore[arg-type] # as the check above says
            elif len(request.body) <= _UNCOUNTED_BYTES or self._hold(job_id, len(request.body)):
                if (same := taken.get(number)) is None:
                    same = taken[number] = ([], [])
                same[0].append(job_id)
                same[1].append(request)
        for number, (ids, requests) in taken.items():
            self._run_jobs(models[number], ids, requests)

    def _take_stream(self, job_id: int, key: ModelKey, request: OpenStream | NextChunk | CloseStream) -> None:
        size = len(request.job.body) if type(request) is OpenStream else 0
        if size <= _UNCOUNTED_BYTES or self._hold(job_id, size):
            self._streams.take(job_id, key, request)

    def _run_jobs(self, key: ModelKey, ids: Sequence[int], jobs: Sequence[Job]) -> None:
        try:
            submissions = self._submit(key, ids, jobs, self._on_outcome)
        except WorkerError as error:
            for job_id in ids:
                self._on_outcome(job_id, error)
        else:
            self._jobs.update(zip(ids, submissions, strict=False))  # some may have been refused

    def _on_outcome(self, job_id: int, outcome: Any) -> None:
        self._jobs.pop(job_id, None)
        if self._held.sizes:
            self._held.discard(job_id)
        if type(outcome) is Reply:
            self._outbox.reply(job_id, outcome)
        else:
            self._outbox.fail(job_id, outcome)

    def _cancel(self, job_id: int) -> None:
        if (submission := self._jobs.pop(job_id, None)) is not None:
            submission.cancel()
            self._held.discard(job_id)
        else:
            self._streams.cancel(job_id)

    def _hold(self, job_id: int, size: int) -> bool:
        """Count a large body, or refuse its job."""
        if self._held.add(job_id, size):
            return True
        self._outbox.fail(job_id, QueueFull("The node holds too many large bodies of this gateway."))
        return False

    # Control

    def _take_control(self, message: GatewayControl) -> None:
        if isinstance(message, GatewayHello):
            self._greet(message)
        elif not self.gateway:
            raise WireError("no greeting first")
        elif isinstance(message, ModelNumber):
            if len(self._models) >= _MAX_MODELS:
                raise WireError(f"more than {_MAX_MODELS} models")
            self._models[message.number] = message.key
        elif isinstance(message, Load):
            work = self._parts.loads.load(message.version, message.owners)
            self._start(message.id, work, loads=message.version.key)
        elif isinstance(message, Owners):
            self._add_owners(message)
        elif isinstance(message, Unload):
            self._unload(message)
        elif isinstance(message, Pins):
            self._parts.pins.replace(self, message.keys)
            self._parts.feed.notify()
        elif isinstance(message, Probe):
            self._start(message.id, self._parts.engine.probe_spawn())

    def _greet(self, hello: GatewayHello) -> None:
        """Answer the gateway's greeting. Raise WireError if its protocol is not spoken here."""
        if self.gateway or not hello.gateway:
            raise WireError("a second greeting, or one without a name")
        node = self._parts.hello()
        self._outbox.control(node)  # so that a gateway of another version learns which this is
        if not OLDEST <= hello.protocol <= NEWEST:
            raise WireError(f"protocol {hello.protocol}, and this node speaks {OLDEST} to {NEWEST}")
        self.gateway = hello.gateway
        self._greeting_timer.cancel()
        logger.info(
            "Linked to gateway %s",
            hello.gateway,
            extra={"event": "node_link_opened", "gateway": hello.gateway, "product": hello.product},
        )
        self._parts.feed.subscribe(self._send_state)

    def _unload(self, message: Unload) -> None:
        if message.keys:
            self._start(message.id, self._parts.engine.unload(*message.keys))
        else:  # a gateway measures the round trip
            self._outbox.control(Done(message.id))

    def _add_owners(self, message: Owners) -> None:
        key, _ = self._calls.get(message.id, (None, None))
        if key is not None:  # the load may have ended already
            self._parts.loads.add_owners(key, message.owners)

    def _start(
        self, call_id: int, work: Coroutine[None, None, float | None], *, loads: ModelKey | None = None
    ) -> None:
        if call_id in self._calls:
            work.close()
            raise WireError("a call whose id is in use")
        if len(self._calls) >= _MAX_CALLS:
            work.close()
            self._outbox.control(Failed(call_id, CapacityExceeded("Too many calls of this gateway run.")))
            return
        task = asyncio.create_task(self._call(call_id, work), name=f"call {call_id} of {self.gateway}")
        self._calls[call_id] = (loads, task)
        task.add_done_callback(lambda _: self._calls.pop(call_id, None))

    async def _call(self, call_id: int, work: Coroutine[None, None, float | None]) -> None:
        try:
            seconds = await work
        except Exception as error:  # noqa: BLE001 - the gateway waits for the outcome, whatever it is
            self._outbox.control(Failed(call_id, error))
        else:
            self._outbox.control(Done(call_id, seconds or 0.0))

    def _send_state(self, message: list[bytes]) -> None:
        if not self._outbox.blocked:
            self._outbox.send(message)

    def _on_stalled(self) -> None:
        self._end("it reads nothing")


def _refuse(
    key: ModelKey, ids: Sequence[int], jobs: Sequence[Job], on_done: Callable[[int, Any], None]
) -> list[Submission]:
    del ids, jobs, on_done
    raise ModelNotLoaded(f"{key} is not loaded: the node is being stopped.")
