"""The faults: each does one thing, notes what may come of it, and tells how long that lasted."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from importlib.util import find_spec
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Final, get_args

from tests.soak import measure
from tests.soak.files import damage, remove_file, remove_least_used
from tests.soak.questions import Question, question
from tests.support.faulty_proxy import Fault as FrontFault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tests.soak.registry import Model
    from tests.soak.scene import Scene

_TROUBLE: Final = (502, 503, 504)
_AWAY_SECONDS: Final = 3.0
_REST_SECONDS: Final = 1.5
_IDLE_CONNECTIONS: Final = 300
_BURST: Final = 300
_START_SECONDS: Final = 30.0  # for a template that is begun again


async def kill(scene: Scene) -> float | None:
    """A worker of a known model dies; what it was asked is asked again elsewhere, so nothing comes of it."""
    return await _killed(scene, signal.SIGKILL)


async def segfault(scene: Scene) -> float | None:
    """The same by another signal."""
    return await _killed(scene, signal.SIGSEGV)


async def kill_any(scene: Scene) -> float | None:
    """Kill any worker, of any model."""
    found = measure.workers(scene.stage.gateway.pid)
    if found:
        scene.ledger.died("", at=monotonic())
        _send(scene.rng.choice(found), signal.SIGKILL)
    return None


async def hang(scene: Scene) -> float | None:
    """A worker stands still: what it was given runs out of time, and what waits behind it may."""
    model = scene.model("commands")
    pid = await scene.pid(model)
    if pid is None:
        return None
    seconds = scene.options.request_seconds
    scene.window("hang", {503, 504}, seconds=seconds + scene.options.patience, model=model, quiet=seconds / 2)
    _send(pid, signal.SIGSTOP)
    return await scene.well(model)


async def poison(scene: Scene) -> float | None:
    """A request that its worker dies of, twice: it alone fails."""
    model = scene.model("commands")
    verb = scene.rng.choice(("die", "segfault", "quit"))
    scene.ledger.died(model.name, at=monotonic(), times=1)
    await scene.asking.ask(Question(model.name, "latest", words=(verb,), expected=frozenset({500})))
    return await scene.well(model)


async def oversleep(scene: Scene) -> float | None:
    """A request that takes longer than it may: its worker is ended, and what waits behind it may be late."""
    model = scene.model("commands")
    seconds = scene.options.request_seconds
    scene.window(
        "oversleep", {503, 504}, seconds=2 * seconds + scene.options.patience, model=model, quiet=seconds
    )
    words = (f"sleep {seconds + 2}", "say late")
    await scene.asking.ask(Question(model.name, "latest", words=words, expected=frozenset({504})))
    return await scene.well(model)


async def upstream(scene: Scene) -> float | None:
    """Make MLflow fail in some way: only models that are not cached become unavailable."""
    front = scene.stage.front
    if front.fault:
        return None
    kind = scene.rng.choice([fault for fault in get_args(FrontFault) if fault])
    late = scene.options.upstream_seconds + _REST_SECONDS
    window = scene.window(
        f"MLflow {kind}",
        _TROUBLE,
        seconds=_AWAY_SECONDS + late,
        unknown_only=True,
        quiet=_AWAY_SECONDS + late,
    )
    front.fault = kind
    try:
        await asyncio.sleep(_AWAY_SECONDS)
    finally:
        front.fault = ""
        window.until = monotonic() + late
    return None


async def move_alias(scene: Scene) -> float | None:
    """The alias means another version: nothing fails."""
    model = scene.model("sums")
    async with model.lock:
        numbers = sorted(model.versions)
        after = [number for number in numbers if number > model.champion]
        refs = await scene.registry.move(model, (after or numbers)[0])
        return await scene.taken_up(model, refs)


async def new_version(scene: Scene) -> float | None:
    """There is a newer version: nothing fails."""
    model = scene.model("sums")
    async with model.lock:
        return await scene.taken_up(model, await scene.registry.add(model))


async def delete_version(scene: Scene) -> float | None:
    """The newest version is gone: nothing fails but what asks for its number."""
    model = scene.model("sums")
    async with model.lock:
        if len(model.versions) < 3 or model.champion == max(model.versions):
            return await scene.taken_up(model, await scene.registry.add(model))
        return await scene.taken_up(model, await scene.registry.delete_newest(model))


async def make_anew(scene: Scene) -> float | None:
    """The model is deleted, and made again of other versions."""
    model = scene.model("sums")
    async with model.lock:
        return await scene.taken_up(model, await scene.registry.make_anew(model))


async def damage_file(scene: Scene) -> float | None:
    """A file of the artifact cache is another one."""
    return await _hurt(scene, "damaged file", damage)


async def lose_file(scene: Scene) -> float | None:
    """A file of the artifact cache is gone."""
    return await _hurt(scene, "lost file", remove_file)


async def lose_folder(scene: Scene) -> float | None:
    """The least used model's folder is gone from the artifact cache."""
    return await _hurt(scene, "lost folder", remove_least_used)


async def kill_template(scene: Scene) -> float | None:
    """Kill the fork server, and all workers with it: waiting requests may time out."""
    pid = measure.template(scene.stage.gateway.pid)
    if pid is None:
        return None
    scene.window("template killed", {503, 504}, seconds=_START_SECONDS + scene.options.patience)
    scene.ledger.died("", at=monotonic())
    _send(pid, signal.SIGKILL)
    return await scene.well(scene.model("commands"))


async def idle_connections(scene: Scene) -> float | None:
    """Very many connections that say nothing."""
    url = scene.asking.url
    writers: list[asyncio.StreamWriter] = []
    with suppress(OSError):
        while len(writers) < _IDLE_CONNECTIONS:
            writers.append((await asyncio.open_connection(url.host, url.port))[1])
    await asyncio.sleep(5)
    for writer in writers:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)
    return None


async def burst(scene: Scene) -> float | None:
    """Very many requests at one model at once: what does not fit its queue is refused."""
    model = scene.model("sums")
    window = scene.window("burst", {503}, seconds=scene.options.patience, model=model, quiet=inf)
    asked = [question(model.name, "latest", kind=model.kind, rng=scene.rng) for _ in range(_BURST)]
    await asyncio.gather(*map(scene.asking.ask, asked))
    window.quiet = monotonic() - window.since  # on a busy machine the last of them are sent seconds later
    return await scene.well(model)


async def unload(scene: Scene) -> float | None:
    """A model is unloaded on request: who asks for it has it loaded again."""
    return await _unloaded(scene, scene.model(""))


async def hang_up(scene: Scene) -> float | None:
    """SIGHUP: the settings are read again, nothing comes of it."""
    scene.stage.gateway.send(signal.SIGHUP)
    return None


async def _killed(scene: Scene, number: signal.Signals) -> float | None:
    model = scene.model("commands")
    pid = await scene.pid(model)
    if pid is None:
        return None
    scene.ledger.died(model.name, at=monotonic())
    _send(pid, number)
    return await scene.well(model)


async def _hurt(scene: Scene, kind: str, how: Callable[..., str | None]) -> float | None:
    name = await asyncio.to_thread(how, scene.stage.cache, scene.rng)
    model = scene.registry.models.get(name or "")
    if model is None:
        return None
    scene.window(kind, {424}, seconds=scene.options.patience, model=model, forgets=True, quiet=1.0)
    # It is found when that very version is loaded, however late, and then its files are downloaded again.
    # Right answers of the model's other versions say nothing of that.
    scene.window(f"{kind}, not found yet", set(), seconds=inf, model=model, forgets=True, quiet=inf)
    return await _unloaded(scene, model)


async def _unloaded(scene: Scene, model: Model) -> float:
    path = f"/v2/repository/models/{model.name}/unload"
    async with scene.stage.session.post(path, json={}) as answer:
        assert answer.status in {200, 404, *_TROUBLE}, await answer.text()
    return await scene.well(model)


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


ALL: Final = (
    kill,
    kill,
    segfault,
    kill_any,
    hang,
    poison,
    oversleep,
    upstream,
    upstream,
    upstream,
    move_alias,
    move_alias,
    new_version,
    delete_version,
    make_anew,
    damage_file,
    lose_file,
    lose_folder,
    kill_template,
    idle_connections,
    burst,
    unload,
)


def supported() -> Sequence[Callable[[Scene], Awaitable[float | None]]]:
    """Every fault, as often as it is to be drawn; SIGHUP where the gateway listens to it."""
    return (*ALL, hang_up) if find_spec("gateway.server.signals") else ALL
