"""Aliases moved, versions made and deleted, models made anew, all under load: nobody waits, nothing fails."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

from gateway.api.keys import COMPONENTS
from gateway.serving.rollover import VERSION_SWITCHES
from tests.support.gateways import Gateway, gateway_at, invoke
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

_CLIENTS = 8
_TTL = 1.0
_JSON = {"Content-Type": "application/json"}
_ANY_BODY = b'{"inputs": [1]}'


class Registry:
    """A registered model of the test's own, made of versions of others."""

    def __init__(self, server: MlflowServer) -> None:
        self._server = server
        self.name = f"succession-{uuid.uuid4().hex[:8]}"

    async def make(self) -> None:
        """Have the model, without a version."""
        await self._call("registered-models/create")

    async def add(self, source: str) -> str:
        """A new version with the files of another model's first one; its number."""
        found = await self._call(f"model-versions/get?name={source}&version=1", "GET")
        uri = found["model_version"]["source"]
        made = await self._call("model-versions/create", source=uri, model_id=uri.removeprefix("models:/"))
        return str(made["model_version"]["version"])

    async def alias(self, version: str) -> None:
        """Let `live` mean this version."""
        await self._call("registered-models/alias", alias="live", version=version)

    async def delete_version(self, version: str) -> None:
        """Delete it."""
        await self._call("model-versions/delete", "DELETE", version=version)

    async def delete(self) -> None:
        """Delete the model with all its versions."""
        await self._call("registered-models/delete", "DELETE")

    async def _call(self, path: str, method: str = "POST", **values: str) -> Any:
        body = {"name": self.name, **values} if method != "GET" else {}
        return await asyncio.to_thread(self._server.call, path, body, method=method)


class Load:
    """What clients that ask without a pause were answered: when, with what status, by which version.

    `waited` of them waited for a model to be loaded.
    """

    def __init__(self) -> None:
        self.answers: list[tuple[float, int, Any]] = []
        self.waited = 0
        self.more = asyncio.Event()

    def versions(self) -> list[str]:
        """Which versions answered, each time that changed."""
        told = [answer["model"]["version"] for _, status, answer in self.answers if status == 200]
        return [one for before, one in zip([None, *told], told, strict=False) if one != before]

    def failed(self) -> list[Any]:
        """What was not answered with 200."""
        return [(status, answer) for _, status, answer in self.answers if status != 200]

    async def until(self, wanted: Callable[[int, Any], bool]) -> None:
        """Wait for an answer of this kind."""
        seen = len(self.answers)
        async with asyncio.timeout(40):
            while not any(wanted(status, answer) for _, status, answer in self.answers[seen:]):
                self.more.clear()
                await self.more.wait()


@asynccontextmanager
async def load(gateway: Gateway, path: str) -> AsyncIterator[Load]:
    """Clients that ask for `path` while the context lasts."""
    found, stop = Load(), asyncio.Event()

    async def client() -> None:
        while not stop.is_set():
            async with gateway.post(path, data=_ANY_BODY, headers=_JSON) as reply:
                found.answers.append((monotonic(), reply.status, await reply.json()))
            found.waited += "load;" in reply.headers.get("Server-Timing", "")
            found.more.set()

    async with asyncio.TaskGroup() as group:
        for _ in range(_CLIENTS):
            group.create_task(client())
        try:
            yield found
        finally:
            stop.set()


@asynccontextmanager
async def served(server: MlflowServer, folder: Path, **values: str) -> AsyncIterator[Gateway]:
    async with gateway_at(server.url, folder, GATEWAY_CATALOG_TTL_SECONDS=str(_TTL), **values) as gateway:
        yield gateway


async def made(server: MlflowServer) -> Registry:
    registry = Registry(server)
    await registry.make()
    return registry


def of(version: str) -> Callable[[int, Any], bool]:
    return lambda status, answer: status == 200 and answer["model"]["version"] == version


async def test_a_moved_alias(mlflow_server: MlflowServer, registered: list[str], tmp_path: Path) -> None:
    """The version that takes four seconds to load answers once it is warm; until then the one before does."""
    registry = await made(mlflow_server)
    quick, slow = await registry.add("api-nan"), await registry.add("api-slow")
    await registry.alias(quick)
    path = f"/model/{registry.name}/@live/invocation"
    async with served(mlflow_server, tmp_path) as gateway:
        assert (await invoke(gateway, path, body=_ANY_BODY))[0] == 200
        async with load(gateway, path) as answers:
            await answers.until(of(quick))
            await registry.alias(slow)
            await answers.until(of(slow))
            await registry.alias(quick)
            await answers.until(of(quick))
        assert answers.failed() == []
        assert answers.versions() == [quick, slow, quick]
        assert answers.waited == 0
        assert gateway.app[COMPONENTS].counters.value(VERSION_SWITCHES, "switched") == 2


async def test_an_alias_moved_on_meanwhile(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """What it meant in between takes minutes to load: nobody waits for that, and it never answers."""
    registry = await made(mlflow_server)
    first, endless, last = [await registry.add(name) for name in ("api-nan", "api-slowest", "api-nan")]
    await registry.alias(first)
    path = f"/model/{registry.name}/@live/invocation"
    async with served(mlflow_server, tmp_path) as gateway:
        assert (await invoke(gateway, path, body=_ANY_BODY))[0] == 200
        async with load(gateway, path) as answers:
            await answers.until(of(first))
            await registry.alias(endless)
            await until(
                lambda: any(key.name == registry.name for key in gateway.app[COMPONENTS].pool._slots.loading)
            )
            await registry.alias(last)
            await answers.until(of(last))
        assert answers.failed() == []
        assert answers.versions() == [first, last]


async def test_a_new_version(mlflow_server: MlflowServer, registered: list[str], tmp_path: Path) -> None:
    """`latest` goes on with the one before until the new one is warm, and goes back where that is deleted."""
    registry = await made(mlflow_server)
    first = await registry.add("api-nan")
    path = f"/model/{registry.name}/invocation/latest"
    async with served(mlflow_server, tmp_path) as gateway:
        assert (await invoke(gateway, path, body=_ANY_BODY))[0] == 200
        async with load(gateway, path) as answers:
            await answers.until(of(first))
            second = await registry.add("api-slow")
            await answers.until(of(second))
            await registry.delete_version(second)
            await answers.until(of(first))
        assert answers.failed() == []
        assert answers.versions() == [first, second, first]
        assert answers.waited == 0


async def test_a_new_version_that_cannot_be_loaded(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """The one before goes on answering, the log and a counter tell, and the way back needs nothing."""
    registry = await made(mlflow_server)
    good, broken = await registry.add("api-nan"), await registry.add("api-broken")
    await registry.alias(good)
    path = f"/model/{registry.name}/@live/invocation"
    async with served(mlflow_server, tmp_path) as gateway:
        assert (await invoke(gateway, path, body=_ANY_BODY))[0] == 200
        tally = gateway.app[COMPONENTS].counters
        async with load(gateway, path) as answers:
            await registry.alias(broken)
            await answers.until(lambda *_: tally.value(VERSION_SWITCHES, "failed") > 0)
            await answers.until(of(good))
            await registry.alias(good)
            await asyncio.sleep(2 * _TTL)
        assert answers.failed() == []
        assert answers.versions() == [good]
        assert tally.value(VERSION_SWITCHES, "failed") == 1


async def test_a_model_made_anew(mlflow_server: MlflowServer, registered: list[str], tmp_path: Path) -> None:
    """Once it answers it is never the old one again, by number, alias or `latest`."""
    registry = await made(mlflow_server)
    number = await registry.add("api-nan")
    await registry.alias(number)
    paths = [f"/model/{registry.name}/{which}/invocation" for which in ("1", "@live", "latest")]
    async with served(mlflow_server, tmp_path) as gateway:
        for path in paths:
            assert (await invoke(gateway, path, body=_ANY_BODY))[0] == 200
        await registry.delete()
        await registry.make()
        await registry.add("api-slow")
        await registry.alias("1")
        deleted = monotonic()
        for path in paths:
            async with load(gateway, path) as answers:
                await answers.until(lambda status, answer: status == 200 and answer["predictions"] == [1.0])
                await asyncio.sleep(0.3)
            told = [
                answer["predictions"] == [1.0] for when, status, answer in answers.answers if status == 200
            ]
            assert told == sorted(told), "the old model answered after the new one"
            late = [
                answer
                for when, status, answer in answers.answers
                if status == 200 and answer["predictions"] != [1.0] and when > deleted + _TTL + 1.0
            ]
            assert late == []


async def test_a_deleted_version(mlflow_server: MlflowServer, registered: list[str], tmp_path: Path) -> None:
    """It is gone within the catalog's time, and answers 404 from then on."""
    registry = await made(mlflow_server)
    first, second = await registry.add("api-nan"), await registry.add("api-nan")
    async with served(mlflow_server, tmp_path) as gateway:
        async with load(gateway, f"/model/{registry.name}/{second}/invocation") as answers:
            await answers.until(of(second))
            await registry.delete_version(second)
            await answers.until(lambda status, _: status == 404)
            await asyncio.sleep(0.3)
        statuses = [status for _, status, _ in answers.answers]
        assert statuses == sorted(statuses)
        assert (await invoke(gateway, f"/model/{registry.name}/{first}/invocation", body=_ANY_BODY))[0] == 200
