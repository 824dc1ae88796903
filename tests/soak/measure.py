"""What the gateway takes of the machine: processes, descriptors, tasks, memory, files of its cache."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final

import psutil

from tests.support.commands import descendants

if TYPE_CHECKING:
    import aiohttp

    from tests.soak.stage import Stage

_TASKS: Final = re.compile(r"^gateway_asyncio_tasks(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)
_TEMPLATE: Final = "workers/forkserver"
_GROWTH: Final = 1.15
_MORE_BYTES: Final = 10 * 2**20
_SETTLE_SECONDS: Final = 60.0
_STILL_SECONDS: Final = 2.0
MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Measured:
    """One look at the gateway; `tasks` is None where it does not tell them, memory is in bytes."""

    processes: int
    descriptors: int
    tasks: int | None
    pss: int
    rss: int
    kinds: Counter[str] = field(default_factory=Counter)

    def grown(self, before: Measured) -> list[str]:
        """What is not where it was; memory of the gateway's process may be a little more."""
        problems = [
            f"{what}: {was} before, {now} after"
            for what, was, now in (
                ("processes", before.processes, self.processes),
                ("descriptors", before.descriptors, self.descriptors),
                ("tasks", before.tasks, self.tasks),
            )
            if was != now
        ]
        if self.descriptors != before.descriptors:
            problems.append(f"descriptors more: {dict(self.kinds - before.kinds)}")
        if self.rss > before.rss * _GROWTH + _MORE_BYTES:
            problems.append(f"memory: {before.rss // MIB} MiB before, {self.rss // MIB} MiB after")
        return problems


async def measured(stage: Stage) -> Measured:
    """A look at the gateway and everything below it."""
    tasks = await tasks_of(stage.session)
    return await asyncio.to_thread(look, stage.gateway.pid, tasks)


async def settled(stage: Stage, *, wanted: Measured | None = None) -> Measured:
    """A look once every model is unloaded, no client is connected, and nothing changes any more.

    Where it is not as `wanted` it is looked at again, for a while.
    """
    until = monotonic() + _SETTLE_SECONDS
    found, before = await measured(stage), None
    while monotonic() < until:
        still = before is not None and found.descriptors == before.descriptors
        if still and _at_rest(stage) and (wanted is None or not found.grown(wanted)):
            break
        await asyncio.sleep(_STILL_SECONDS)
        found, before = await measured(stage), found
    return found


def workers(gateway: int) -> list[int]:
    """The processes with a model: each is a fork of the template, and leads a session of its own."""
    above = template(gateway)
    found = []
    for pid in descendants(gateway):
        with suppress(psutil.Error, OSError):
            if psutil.Process(pid).ppid() == above and _session(pid) == pid:
                found.append(pid)
    return found


def template(gateway: int) -> int | None:
    """The process that every worker is a fork of; None where it is dead."""
    for pid in descendants(gateway):
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE and _is_template(process):
                return pid
    return None


def litter(cache: Path) -> list[str]:
    """What downloads that are over have left in the cache's folder."""
    layout = cache / "v1"
    partial = [f"partial/{path.name}" for path in (layout / "partial").iterdir()]
    return partial + [f"locks/{path.name}" for path in (layout / "locks").glob("*.fetch")]


def _is_template(process: psutil.Process) -> bool:
    above = process.parent()
    is_fork = above is not None and any(_TEMPLATE in word for word in above.cmdline())
    return not is_fork and any(_TEMPLATE in word for word in process.cmdline())


def _session(pid: int) -> int:
    return int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[3])


def look(gateway: int, tasks: int | None) -> Measured:
    """A look at a process and everything below it."""
    processes = [gateway, *descendants(gateway)]
    pss = 0
    for pid in processes:
        with suppress(psutil.Error):
            pss += psutil.Process(pid).memory_full_info().pss
    process = psutil.Process(gateway)
    kinds = _descriptors(gateway)
    return Measured(len(processes) - 1, kinds.total(), tasks, pss, process.memory_info().rss, kinds)


def _descriptors(pid: int) -> Counter[str]:
    """What the open descriptors are: sockets, pipes, and files by what their names end in."""
    found: Counter[str] = Counter()
    for entry in (Path("/proc") / str(pid) / "fd").iterdir():
        with suppress(OSError):
            target = str(entry.readlink())
            name = Path(target.split(maxsplit=1)[0])
            found[target.partition(":")[0] if ":" in target else f"*{name.suffix}"] += 1
    return found


def _at_rest(stage: Stage) -> bool:
    """Whether no model is loaded, and no connection is open."""
    connected = psutil.Process(stage.gateway.pid).net_connections("tcp")
    busy = any(one.status == psutil.CONN_ESTABLISHED for one in connected)
    return not busy and not workers(stage.gateway.pid)


async def tasks_of(session: aiohttp.ClientSession) -> int | None:
    """How many tasks the gateway of this client tells of; None where it does not."""
    async with session.get("/metrics", headers={"Connection": "close"}) as answer:
        found = _TASKS.search(await answer.text()) if answer.status == 200 else None
    return int(float(found[1])) if found else None
