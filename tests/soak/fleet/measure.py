"""What the processes of a fleet take of the machine while no model is loaded."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Final

import psutil

from tests.soak.measure import look, tasks_of, workers

if TYPE_CHECKING:
    from collections.abc import Collection

    from tests.soak.fleet.stage import FleetStage
    from tests.soak.measure import Measured

_SETTLE_SECONDS: Final = 90.0
_STILL_SECONDS: Final = 2.0


async def settled(stage: FleetStage, *, wanted: dict[str, Measured] | None = None) -> dict[str, Measured]:
    """A look at each process by name, once every model is unloaded and nothing changes any more.

    Where it is not as `wanted` it is looked at again, for a while.
    """
    until = monotonic() + _SETTLE_SECONDS
    found, before = await _measured(stage), None
    while monotonic() < until:
        still = before is not None and _descriptors(found) == _descriptors(before)
        if still and _at_rest(stage) and (wanted is None or not grown(wanted, found)):
            break
        await asyncio.sleep(_STILL_SECONDS)
        found, before = await _measured(stage), found
    return found


def grown(before: dict[str, Measured], after: dict[str, Measured]) -> list[str]:
    """What is not where it was, by process."""
    return [f"{name}: {problem}" for name, one in after.items() for problem in one.grown(before[name])]


async def _measured(stage: FleetStage) -> dict[str, Measured]:
    found = {}
    for gateway, session in zip(stage.gateways, stage.sessions, strict=True):
        tasks = await tasks_of(session)
        found[gateway.name] = await asyncio.to_thread(look, gateway.process.pid, tasks)
    for node in stage.nodes:
        found[node.name] = await asyncio.to_thread(look, node.process.pid, None)
    return found


def _descriptors(found: dict[str, Measured]) -> dict[str, int]:
    return {name: one.descriptors for name, one in found.items()}


def _at_rest(stage: FleetStage) -> bool:
    """Whether no model is loaded, and no connection is open but the links."""
    pids = [member.process.pid for member in (*stage.gateways, *stage.nodes)]
    return not any(_busy(pid, stage.link_ports) or workers(pid) for pid in pids)


def _busy(pid: int, link_ports: Collection[int]) -> bool:
    return any(
        one.status == psutil.CONN_ESTABLISHED and not {one.laddr.port, one.raddr.port} & {*link_ports}
        for one in psutil.Process(pid).net_connections("tcp")
    )
