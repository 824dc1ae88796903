"""One node as this gateway sees it: the link to it, opened again after each loss, and what it told."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from gateway.engines.fleet.link import Link
from gateway.engines.fleet.link_status import LinkStatus
from gateway.engines.fleet.metrics import NODE_LOSSES
from gateway.engines.fleet.room import Room
from gateway.engines.node_report import NodeReport
from gateway.engines.placement import Candidate
from gateway.engines.transports.protocol import LinkRefused
from gateway.engines.wire.state import NodeState
from workers.backoff import Backoff
from workers.errors import NodeLost

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from gateway.engines.fleet.connector import Connector
    from gateway.engines.fleet.limits import FleetLimits
    from gateway.engines.fleet.link import Greeting
    from gateway.engines.members import Member
    from gateway.engines.wire.control import NodeHello
    from workers.metrics import Counters
    from workers.protocol.messages import ModelKey

logger = logging.getLogger(__name__)

_REFUSED_RETRY_SECONDS: Final = 15.0
_INITIAL_RETRY_SECONDS: Final = 0.1
_MAX_RETRY_SECONDS: Final = 5.0
_PING_SECONDS: Final = 5.0
_NO_BUDGET_WEIGHT: Final = float(2**33)


class NodeOwner(Protocol):
    """What a node tells of. Each method is called from the event loop, and returns at once."""

    def on_connected(self, node: FleetNode) -> None:
        """Take note that the node can be given loads; `warm` is set already."""

    def on_changed(self, node: FleetNode, keys: Collection[ModelKey]) -> None:
        """Take note that these models became warm or cold there, or are wanted on more or fewer nodes."""

    def on_disconnected(self, node: FleetNode, keys: Collection[ModelKey]) -> None:
        """Take note that the node is gone, and these models with it."""


@dataclass(frozen=True, slots=True)
class NodeContext:
    """What all nodes of a fleet share."""

    connector: Connector
    greeting: Greeting
    owner: NodeOwner
    limits: Callable[[], FleetLimits]
    counters: Counters


class FleetNode:
    """A node of the fleet. `run` keeps a link to it.

    `connected`: it said which node it is, and its state. `models` and `state` are what it told last;
    `warm` has the models that it can be given requests for. `leaving`: it is no member of the fleet any more.
    """

    def __init__(self, member: Member, context: NodeContext) -> None:
        self.member = member
        self.candidate = Candidate(member.name, _NO_BUDGET_WEIGHT)
        self.hello: NodeHello | None = None
        self.state = NodeState()
        self.warm: set[ModelKey] = set()
        self.connected = False
        self.leaving_since: float | None = None
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._link: Link | None = None
        self._ended: asyncio.Future[None] | None = None
        self._closing = self._refused = self._retired = False
        self._heard_at = self._pinged_at = 0.0
        self.room = Room(self._loop.time)
        self._gone: set[ModelKey] = (
            set()
        )  # still loaded there, but the node drains, and takes no more requests
        self._backoff = Backoff(_INITIAL_RETRY_SECONDS, _MAX_RETRY_SECONDS)
        self._status = LinkStatus(member)

    async def run(self) -> None:
        """Keep a link to the node until cancelled."""
        while True:
            try:
                await self._keep_link()
            except Exception:  # one link that fails must not be the last one
                extra = {"event": "node_link_failed", "node": self.name}
                logger.exception("The link to node %s failed", self.name, extra=extra)
            delay = _REFUSED_RETRY_SECONDS if self._refused else self._backoff.next_delay()
            await asyncio.sleep(delay * random.uniform(0.75, 1.25))  # noqa: S311 - not for security

    async def _keep_link(self) -> None:
        """Open a link, and return when it has ended."""
        limits = self._context.limits()
        link = Link(self, request_seconds=limits.request_seconds)
        self._ended, self._refused = self._loop.create_future(), False
        try:
            async with asyncio.timeout(limits.lost_seconds):
                transport = await self._context.connector.connect(self.member, link)
        except LinkRefused as error:
            self.on_refused(str(error))
            return
        except (OSError, TimeoutError) as error:
            self._status.set_unreachable(str(error) or "It does not answer.")
            return
        self._link, self._heard_at = link, self._loop.time()
        link.open(transport, self._context.greeting)
        try:
            await self._ended
        finally:
            self._retired = True  # unless the link has ended, which nothing hears of any more
            link.close("This gateway does not use it any more.")
            self._retired = False

    # What the engine reads and does

    @property
    def name(self) -> str:
        """The name of the member, in logs, metrics and reports."""
        return self.member.name

    @property
    def told_name(self) -> str:
        """The name that the node told of itself; that of the member before it did."""
        return self.hello.node if self.hello is not None else self.member.name

    @property
    def link(self) -> Link:
        """The link. Raise NodeLost if there is none."""
        if self._link is None:
            raise NodeLost("The node was lost.")
        return self._link

    @property
    def in_flight(self) -> int:
        """The number of jobs without an answer."""
        return 0 if self._link is None else self._link.in_flight

    @property
    def waiting(self) -> Iterable[asyncio.Future[Any]]:
        """The futures of those jobs."""
        return () if self._link is None else self._link.waiting

    @property
    def draining(self) -> bool:
        """Whether it should get no more models."""
        return self._closing or self.state.draining or self.leaving_since is not None

    def wanted(self, key: ModelKey) -> int:
        """Return on how many nodes this one wants a model."""
        model = self.state.models.get(key)
        return 1 if model is None else model.wanted

    def mark_closing(self) -> None:
        """Load nothing more there, because it takes none, until its next state says whether it drains."""
        self._closing = True
        self._context.owner.on_changed(self, set(self.warm))

    def mark_warm(self, key: ModelKey) -> None:
        """Take note that it has loaded the model, which its state will say as well."""
        if self.connected and key not in self.warm:
            self.warm.add(key)
            self.room.on_warm(key)
            self._context.owner.on_changed(self, {key})

    def mark_cold(self, key: ModelKey, *, evicted: bool) -> None:
        """Take note that it has not loaded the model any more, which its state will say as well.

        `evicted`: this gateway did not ask for that.
        """
        self.room.on_cold(key, evicted=evicted and not self.draining)
        if self.state.draining:
            self._gone.add(key)
        if key in self.warm:
            self.warm.discard(key)
            self._context.owner.on_changed(self, {key})

    def check(self, now: float, *, late: bool) -> None:
        """Give the link up if the node is silent. `late`: this process was, so the node may not be."""
        if (link := self._link) is None:
            return
        if link.heard or late:
            link.heard = False
            self._heard_at = now
        elif now - self._heard_at > (seconds := self._context.limits().lost_seconds):
            link.close(f"It sent nothing for {seconds:g} s.")
            return
        link.expire(now)
        if self.connected and now - self._pinged_at > _PING_SECONDS:
            self._pinged_at = now
            link.ping()

    def report(self) -> NodeReport:
        """Return how it is seen now."""
        memory = self.state.memory
        alive = self.connected
        return NodeReport(
            self.name,
            self.member.address,
            self._status.value,
            self._status.since,
            reason=self._status.reason,
            draining=self.draining,
            product_version=self.hello.product if self.hello else "",
            warm_models=len(self.warm),
            in_flight=self.in_flight,
            memory_used_bytes=memory.base_bytes + sum(memory.model_bytes.values()) if alive else None,
            memory_budget_bytes=memory.budget_bytes if alive else None,
            round_trip_seconds=self._link.round_trip if self._link else None,
        )

    # What the link reports

    def on_hello(self, hello: NodeHello) -> None:
        """Take note of which node it is."""
        self.hello = hello
        self.candidate = Candidate(self.name, float(hello.memory_budget_bytes or _NO_BUDGET_WEIGHT))

    def on_state(self, state: NodeState) -> None:
        """Take the node's state, of which the first one completes the connection."""
        if (hello := self.hello) is None:
            self.link.close("It told its state before its name.")
            return
        before, known, drained = self.state, self.warm, self.draining
        self.state, self._closing = state, False
        if not state.draining:
            self._gone.clear()
        warm = {key for key, model in state.models.items() if model.status.state == "warm"}
        self.warm = warm - self._gone
        self._note_room(known, state)
        if not self.connected:
            self._connect(hello)
        elif self.draining != drained:
            self._context.owner.on_changed(self, known | self.warm)
        elif changed := (known ^ self.warm) | _with_other_wanted(before, state):
            self._context.owner.on_changed(self, changed)

    def on_refused(self, reason: str) -> None:
        """Take note that the two do not accept each other."""
        self._refused = True
        self._status.set_refused(reason)

    def on_lost(self, reason: str, jobs: int) -> None:
        """Take note that the link ended."""
        keys, was_connected, was_draining = self.warm, self.connected, self.draining
        self._link, self.hello, self.warm, self.connected = None, None, set(), False
        self.state, self._closing = NodeState(), False
        self._gone.clear()
        self.room.on_lost()
        if self._retired:
            self._status.set_unused(reason)
        elif was_connected:
            self._context.counters.increment(NODE_LOSSES, self.name)
            self._status.set_lost(reason, jobs=jobs, expected=was_draining)
        elif not self._refused:
            self._status.set_unreachable(reason)
        if was_connected:
            self._context.owner.on_disconnected(self, keys)
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def _note_room(self, known: set[ModelKey], state: NodeState) -> None:
        for key in self.warm - known:
            self.room.on_warm(key)
        is_loading = any(model.status.state == "loading" for model in state.models.values())
        gone = known - self.warm
        self._status.log_unloaded(gone)
        for key in gone:
            self.room.on_unloaded(key, loading=is_loading)

    def _connect(self, hello: NodeHello) -> None:
        self._backoff.reset()
        self.connected = True
        self._status.set_connected(product=hello.product, models=len(self.warm))
        self._context.owner.on_connected(self)


def _with_other_wanted(before: NodeState, after: NodeState) -> set[ModelKey]:
    """Return the models that are wanted on more or fewer nodes than before."""
    models = before.models
    return {
        key for key, model in after.models.items() if key in models and models[key].wanted != model.wanted
    }
