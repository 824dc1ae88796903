"""A cache in front of a server that hands out artifacts, and other processes with the same cache."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.artifacts.cache import ArtifactCache
from gateway.mlflow_client import MlflowClient
from gateway.settings import load
from tests.support import artifact_shelf, leaser
from tests.support.disks import disk
from tests.support.mlflow_server import environment
from tests.support.s3_server import s3_server
from workers.protocol.messages import ModelKey

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from tests.support.artifact_shelf import Shelf

__all__ = ["s3_server"]


def key(name: str) -> ModelKey:
    """The key that every test here uses for a model of that name."""
    return ModelKey(name, "1", "f")


@dataclass
class House:
    """One folder of the cache, and what may be done around it."""

    shelf: Shelf
    folder: Path
    stack: AsyncExitStack
    max_bytes: int = 10**9
    rest: float = 0.0
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The gateway's settings for a cache in this folder."""
        return {
            "MLFLOW_TRACKING_URI": self.shelf.url,
            "GATEWAY_CACHE_DIR": str(self.folder),
            "GATEWAY_CACHE_MAX_BYTES": str(self.max_bytes),
            **self.extra,
        }

    async def cache(self) -> ArtifactCache:
        """A newly opened cache, as after a start of the gateway; closed at the test's end."""
        settings = load(self.environment)
        client = await self.stack.enter_async_context(MlflowClient(settings.mlflow))
        cache = ArtifactCache(settings, client, backoff=self.rest)
        await cache.open()
        self.stack.push_async_callback(cache.close)
        return cache

    def locate(self, name: str) -> Callable[[], Awaitable[str]]:
        """What finds the model `name` on the shelf."""

        async def located() -> str:
            return f"mlflow-artifacts:/{name}"

        return located

    def lease(self, cache: ArtifactCache, name: str) -> AbstractAsyncContextManager[Path]:
        """A lease of the model `name`."""
        return cache.lease(key(name), self.locate(name))

    async def fetch(self, cache: ArtifactCache, name: str) -> Path:
        """Lease the model `name` for a moment; returns where it was."""
        async with self.lease(cache, name) as folder:
            return folder

    def leftovers(self) -> list[str]:
        """Whatever is half done in the cache's folder: names of partial downloads and their files."""
        return [path.name for path in (self.folder / "v1" / "partial").rglob("*")]

    def models(self) -> list[str]:
        """The names of the complete models in the cache's folder."""
        return [path.name for path in (self.folder / "v1" / "models").iterdir()]

    @asynccontextmanager
    async def other_process(self, name: str) -> AsyncIterator[Other]:
        """Another process that has opened the same cache and leases the model `name`."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-m", leaser.__name__),
            stdin=PIPE,
            stdout=PIPE,
            env=environment({"PYTHONPATH": str(Path(__file__).parents[3])}),
        )
        other = Other(process)
        try:
            order = {"environment": self.environment, "name": name, "uri": f"mlflow-artifacts:/{name}"}
            await other.say(json.dumps(order))
            assert await other.hear() == "open"
            yield other
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


@dataclass(frozen=True)
class Other:
    """A process with a cache of its own on the same folder."""

    process: Process

    async def say(self, line: str) -> None:
        """Send it a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        await self.process.stdin.drain()

    async def hear(self) -> str:
        """Its next line."""
        assert self.process.stdout is not None
        return (await self.process.stdout.readline()).decode().strip()

    async def leased(self) -> dict[str, Any]:
        """What it tells of its lease, once it has it."""
        told: dict[str, Any] = json.loads(await self.hear())
        return told

    async def release(self) -> None:
        """Have it give the lease back and end."""
        await self.say("release")
        assert await self.process.wait() == 0


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """An empty cache's folder beside an empty shelf."""
    async with artifact_shelf.opened() as served, AsyncExitStack() as stack:
        yield House(served, tmp_path / "cache", stack)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 2 MiB."""
    with disk(tmp_path / "disk", mebibytes=2) as folder:
        yield folder
