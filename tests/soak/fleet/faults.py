"""The faults of a fleet, which cost no request but those of a gateway that is killed."""

from __future__ import annotations

import asyncio
import signal
from time import monotonic
from typing import TYPE_CHECKING, Final

from tests.soak.fleet.stage import NODES, SMALL_PLACES
from tests.soak.questions import Question

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.soak.fleet.member import Member
    from tests.soak.fleet.scene import FleetScene

_STOPPED_SECONDS: Final = 6.0
_AWAY_SECONDS: Final = 2.0
_STRANGER_SECONDS: Final = 5.0
_BUSY_SECONDS: Final = 2


async def node_killed(scene: FleetScene) -> None:
    """A node dies, and is started again."""
    node = _any(scene)
    await node.kill()
    await asyncio.sleep(_AWAY_SECONDS)
    await node.start()


async def node_stopped(scene: FleetScene) -> None:
    """A node stands still for longer than gateways wait for it, and goes on."""
    node = _any(scene)
    node.send(signal.SIGSTOP)
    try:
        await asyncio.sleep(_STOPPED_SECONDS)
    finally:
        node.send(signal.SIGCONT)


async def gateway_killed(scene: FleetScene) -> None:
    """A gateway dies, and is started again: clients of the other one see nothing."""
    number = scene.rng.randrange(len(scene.stage.gateways))
    gateway = scene.stage.gateways[number]
    window = await scene.gateway_away(number)
    await gateway.kill()
    await asyncio.sleep(_AWAY_SECONDS)
    await gateway.start()
    window.until = monotonic()


async def node_left(scene: FleetScene) -> None:
    """A node leaves in order, and joins again."""
    node = _any(scene)
    await node.leave()
    await asyncio.sleep(_AWAY_SECONDS)
    await node.start()


async def node_full(scene: FleetScene) -> None:
    """More models are busy at once than the small node has places for: others take them."""
    words = (f"sleep {_BUSY_SECONDS}", "say busy")
    asked = [Question(model.name, "latest", words=words) for model in scene.registry.of_kind("commands")]
    assert len(asked) > NODES * SMALL_PLACES, "too few models to fill a node"
    before = await scene.counted("node_spills")
    for _ in range(3):
        await asyncio.gather(*(asking.ask(one) for asking in scene.asking for one in asked))
        if await scene.counted("node_spills") > before:
            return


async def link_half_open(scene: FleetScene) -> None:
    """What is connected to the first node is silent, though nothing is closed: gateways connect anew."""
    stopped = scene.stage.wire.go_half_open()
    try:
        await asyncio.sleep(_STOPPED_SECONDS)
    finally:
        stopped.set()


async def wrong_token(scene: FleetScene) -> None:
    """A fourth member that does not know the token gets no request."""
    stranger = scene.stage.stranger
    await stranger.start()
    await asyncio.sleep(_STRANGER_SECONDS)
    met = stranger.process.events("node_link_refused")
    await stranger.leave()
    assert met, "no gateway met the stranger"


def _any(scene: FleetScene) -> Member:
    return scene.rng.choice(scene.stage.nodes)


ALL: Final[tuple[Callable[[FleetScene], Awaitable[None]], ...]] = (
    node_killed,
    node_stopped,
    gateway_killed,
    node_left,
    node_full,
    link_half_open,
    wrong_token,
)
