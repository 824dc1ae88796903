"""Proves that moved aliases, new, deleted and recreated versions cost no request under load."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from gateway.api.keys import COMPONENTS
from gateway.serving.rollover import VERSION_SWITCHES
from tests.support.gateways import Gateway, gateway_at, invoke
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer
    from workers.protocol.messages import ModelKey

_CLIENTS = 8
_TTL = 0.5
_JSON = {"Content-Type": "application/json"}
_ANY_BODY = b'{"inputs": [1]}'


class Registry:
    """A registered model for one test, whose versions have the files of other models."""

    def __init__(self, server: MlflowServer) -> None:
        self._server = server
        self.name = f"rollover-{uuid.uuid4().hex[:8]}"

    async def create(self) -> None:
        """Register the model without a version."""
        await self._call("registered-models/create")

    async def add(self, source: str) -> str:
        """Create a version with the files of version 1 of the model `source`; return its number."""
        found = await self._call(f"model-versions/get?name={source}&version=1", "GET")
        uri = found["model_version"]["source"]
        reply = await self._call("model-versions/create", source=uri, model_id=uri.removeprefix("models:/"))
        return str(reply["model_version"]["version"])

    async def alias(self, version: str) -> None:
        """Set the alias `live` to this version."""
        await self._call("registered-models/alias", alias="live", version=version)

    async def delete_version(self, version: str) -> None:
        """Delete the version."""
        await self._call("model-versions/delete", "DELETE", version=version)

    async def delete(self) -> None:
        """Delete the model with all its versions."""
        await self._call("registered-models/delete", "DELETE")

    async def _call(self, path: str, method: str = "POST", **values: str) -> Any:
        body = {"name": self.name, **values} if method != "GET" else {}
        return await asyncio.to_thread(self._server.call, path, body, method=method)


@dataclass(frozen=True, slots=True)
class Response:
    """A response, and when its request was sent."""

    sent_at: float
    status: int
    answer: Any

    def is_of(self, version: str) -> bool:
        """Return whether it is a prediction of this version."""
        return self.status == 200 and self.answer["model"]["version"] == version


class Load:
    """The responses to clients that send requests without a pause.

    `waited` counts those that waited for a model to be loaded.
    """

    def __init__(self) -> None:
        self.responses: list[Response] = []
        self.waited = 0
        self.changed = asyncio.Event()

    def versions(self) -> list[str]:
        """Return the versions that answered, one for each change of the version."""
        found = [each.answer["model"]["version"] for each in self.responses if each.status == 200]
        return [one for before, one in zip([None, *found], found, strict=False) if one != before]

    def failed(self) -> list[Response]:
        """Return the responses with another status than 200."""
        return [each for each in self.responses if each.status != 200]

    async def until(self, wanted: Callable[[Response], bool]) -> None:
        """Wait for a new response for which `wanted` is true."""
        seen = len(self.responses)
        async with asyncio.timeout(60):
            while not any(wanted(each) for each in self.responses[seen:]):
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def load(gateway: Gateway, path: str) -> AsyncIterator[Load]:
    """Let eight clients request `path` while the context lasts."""
    found, stop = Load(), asyncio.Event()

    async def client() -> None:
        while not stop.is_set():
            sent_at = monotonic()
            async with gateway.post(path, data=_ANY_BODY, headers=_JSON) as response:
                found.responses.append(Response(sent_at, response.status, await response.json()))
            found.waited += "load;" in response.headers.get("Server-Timing", "")
            found.changed.set()

    async with asyncio.TaskGroup() as group:
        for _ in range(_CLIENTS):
            group.create_task(client())
        try:
            yield found
        finally:
            stop.set()


@asynccontextmanager
async def served(server: MlflowServer, folder: Path) -> AsyncIterator[Gateway]:
    """Run a gateway that looks up versions again after half a second."""
    async with gateway_at(server.url, folder, GATEWAY_CATALOG_TTL_SECONDS=str(_TTL)) as gateway:
        yield gateway


@pytest.fixture
async def registry(mlflow_server: MlflowServer, registered: list[str]) -> Registry:
    """A registered model without a version."""
    registry = Registry(mlflow_server)
    await registry.create()
    return registry


def of(version: str) -> Callable[[Response], bool]:
    return lambda response: response.is_of(version)


def loading(gateway: Gateway, name: str) -> list[ModelKey]:
    """Return the versions of the model that are being loaded."""
    statuses = gateway.app[COMPONENTS].engine.statuses()
    return [key for key, status in statuses.items() if key.name == name and status.state == "loading"]


@pytest.mark.slow
async def test_a_moved_alias(mlflow_server: MlflowServer, registry: Registry, tmp_path: Path) -> None:
    """The old version answers until the new one, which loads slowly, is loaded; no request waits."""
    quick, slow = await registry.add("api-nan"), await registry.add("api-slow")
    await registry.alias(quick)
    path = f"/model/{registry.name}/@live/invocation"
    async with served(mlflow_server, tmp_path) as gateway:
        assert (await invoke(gateway, path, body=_ANY_BODY))[0] == 200
        async with load(gateway, path) as clients:
            await clients.until(of(quick))
            await registry.alias(slow)
            await clients.until(of(slow))
            await registry.alias(quick)
            await clients.until(of(quick))
        assert clients.failed() == []
        assert clients.versions() == [quick, slow, quick]
        assert clients.waited == 0
        assert gateway.app[COMPONENTS].counters.value(VERSION_SWITCHES, "switched") == 2


async def test_an_alias_that_moves_again_during_a_load(
    mlflow_server: MlflowServer, registry: Registry, tmp_path: Path
) -> None:
    """The version in between takes minutes to load: no request waits for it, and it never answers."""
    first, endless, last = [await registry.add(name) for name in ("api-nan", "api-slowest", "api-nan")]
    await registry.alias(first)
    path = f"/model/{registry.name}/@live/invocation"
    async with served(mlflow_server, tmp_path) as gateway:
        assert (await invoke(gateway, path, body=_ANY_BODY))[0] == 200
        async with load(gateway, path) as clients:
            await clients.until(of(first))
            await registry.alias(endless)
            await until(lambda: bool(loading(gateway, registry.name)))
            await registry.alias(last)
            await clients.until(of(last))
        assert clients.failed() == []
        assert clients.versions() == [first, last]


@pytest.mark.slow
async def test_a_new_version(mlflow_server: MlflowServer, registry: Registry, tmp_path: Path) -> None:
    """`latest` changes once the new version is loaded, and changes back if that is deleted."""
    first = await registry.add("api-nan")
    path = f"/model/{registry.name}/invocation/latest"
    async with served(mlflow_server, tmp_path) as gateway:
        assert (await invoke(gateway, path, body=_ANY_BODY))[0] == 200
        async with load(gateway, path) as clients:
            await clients.until(of(first))
            second = await registry.add("api-slow")
            await clients.until(of(second))
            await registry.delete_version(second)
            await clients.until(of(first))
        assert clients.failed() == []
        assert clients.versions() == [first, second, first]
        assert clients.waited == 0


async def test_a_new_version_that_cannot_be_loaded(
    mlflow_server: MlflowServer, registry: Registry, tmp_path: Path
) -> None:
    """The old version answers, and a counter shows the failure; the alias can move back at any time."""
    good, broken = await registry.add("api-nan"), await registry.add("api-broken")
    await registry.alias(good)
    path = f"/model/{registry.name}/@live/invocation"
    async with served(mlflow_server, tmp_path) as gateway:
        assert (await invoke(gateway, path, body=_ANY_BODY))[0] == 200
        counters = gateway.app[COMPONENTS].counters
        async with load(gateway, path) as clients:
            await registry.alias(broken)
            await clients.until(lambda _: counters.value(VERSION_SWITCHES, "failed") > 0)
            await clients.until(of(good))
            await registry.alias(good)
            await asyncio.sleep(2 * _TTL)  # longer than the gateway may use the old alias
        assert clients.failed() == []
        assert clients.versions() == [good]
        assert counters.value(VERSION_SWITCHES, "failed") == 1


@pytest.mark.slow
async def test_a_recreated_model(mlflow_server: MlflowServer, registry: Registry, tmp_path: Path) -> None:
    """The old model never answers again once its successor is known, by number, alias or `latest`."""
    number = await registry.add("api-nan")
    await registry.alias(number)
    paths = [f"/model/{registry.name}/{which}/invocation" for which in ("1", "@live", "latest")]

    def is_new(response: Response) -> bool:
        return bool(response.status == 200 and response.answer["predictions"] == [1.0])

    async with served(mlflow_server, tmp_path) as gateway:
        for path in paths:
            assert (await invoke(gateway, path, body=_ANY_BODY))[0] == 200
        await registry.delete()
        await registry.create()
        await registry.add("api-slow")
        await registry.alias("1")
        known_at = float("inf")
        for path in paths:
            async with load(gateway, path) as clients:
                if path == paths[0]:
                    await until(lambda: bool(loading(gateway, registry.name)))
                    known_at = monotonic()
                await clients.until(is_new)
                await asyncio.sleep(0.3)  # of load
            predictions = [each for each in clients.responses if each.status == 200]
            news = [is_new(each) for each in predictions]
            assert news == sorted(news), "the old model answered after the new one"
            if path == paths[0]:
                assert all(is_new(each) for each in predictions if each.sent_at > known_at)
            late = [each for each in predictions if each.sent_at > known_at + _TTL + 10.0]
            assert all(map(is_new, late))


async def test_a_deleted_version(mlflow_server: MlflowServer, registry: Registry, tmp_path: Path) -> None:
    """It gets 404 soon after it was deleted, and from then on; the other version is served."""
    first, second = await registry.add("api-nan"), await registry.add("api-nan")
    async with served(mlflow_server, tmp_path) as gateway:
        async with load(gateway, f"/model/{registry.name}/{second}/invocation") as clients:
            await clients.until(of(second))
            await registry.delete_version(second)
            await clients.until(lambda response: response.status == 404)
            await asyncio.sleep(0.3)  # of load
        statuses = [each.status for each in clients.responses]
        assert statuses == sorted(statuses)
        assert (await invoke(gateway, f"/model/{registry.name}/{first}/invocation", body=_ANY_BODY))[0] == 200
