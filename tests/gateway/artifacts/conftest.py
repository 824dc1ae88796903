"""A cache in front of an artifact server, and other processes with the same cache folder."""

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
from tests.support import artifact_server, lease_process
from tests.support.disks import disk
from tests.support.mlflow_server import environment
from tests.support.s3_server import s3_server
from workers.protocol.messages import ModelKey

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from tests.support.artifact_server import ArtifactServer

__all__ = ["s3_server"]


def key(name: str) -> ModelKey:
    """Return the key that all these tests use for the model `name`."""
    return ModelKey(name, "1", "f")


@dataclass
class CacheHarness:
    """One cache folder with the server of its models; `variables` are further settings."""

    server: ArtifactServer
    folder: Path
    stack: AsyncExitStack
    max_bytes: int = 10**9
    backoff: float = 0.0
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The gateway's settings for a cache in this folder."""
        return {
            "MLFLOW_TRACKING_URI": self.server.url,
            "GATEWAY_CACHE_DIR": str(self.folder),
            "GATEWAY_CACHE_MAX_BYTES": str(self.max_bytes),
            **self.variables,
        }

    async def open_cache(self, **options: Any) -> ArtifactCache:
        """Open a new cache, as a start of the gateway does; it is closed at the end of the test."""
        settings = load(self.environment)
        client = await self.stack.enter_async_context(MlflowClient(settings.mlflow))
        cache = ArtifactCache(settings, client, backoff=self.backoff, **options)
        await cache.open()
        self.stack.push_async_callback(cache.close)
        return cache

    def locate(self, name: str) -> Callable[[], Awaitable[str]]:
        """Return a function that returns the URI of the model `name`."""

        async def uri() -> str:
            return f"mlflow-artifacts:/{name}"

        return uri

    def lease(self, cache: ArtifactCache, name: str) -> AbstractAsyncContextManager[Path]:
        """Lease the model `name`."""
        return cache.lease(key(name), self.locate(name))

    async def fetch(self, cache: ArtifactCache, name: str) -> Path:
        """Lease the model `name` and release it at once; return its folder."""
        async with self.lease(cache, name) as folder:
            return folder

    def partial_files(self) -> list[str]:
        """Return the names of partial downloads and their files in the cache's folder."""
        return [path.name for path in (self.folder / "v1" / "partial").rglob("*")]

    def models(self) -> list[str]:
        """Return the names of the complete models in the cache's folder."""
        return [path.name for path in (self.folder / "v1" / "models").iterdir()]

    @asynccontextmanager
    async def other_process(self, name: str) -> AsyncIterator[OtherProcess]:
        """Start another process that has opened the same cache folder and leases the model `name`."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-m", lease_process.__name__),
            stdin=PIPE,
            stdout=PIPE,
            env=environment({"PYTHONPATH": str(Path(__file__).parents[3])}),
        )
        other = OtherProcess(process)
        try:
            request = {"environment": self.environment, "name": name, "uri": f"mlflow-artifacts:/{name}"}
            await other.send_line(json.dumps(request))
            assert await other.read_line() == "open"
            yield other
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


@dataclass(frozen=True)
class OtherProcess:
    """A process with a cache of its own on the same folder."""

    process: Process

    async def send_line(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        await self.process.stdin.drain()

    async def read_line(self) -> str:
        """Return the next line of its standard output."""
        assert self.process.stdout is not None
        return (await self.process.stdout.readline()).decode().strip()

    async def wait_leased(self) -> dict[str, Any]:
        """Return its report about its lease once it has it."""
        report: dict[str, Any] = json.loads(await self.read_line())
        return report

    async def release(self) -> None:
        """Let it release the lease and end."""
        await self.send_line("release")
        assert await self.process.wait() == 0


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[CacheHarness]:
    """An empty cache folder and an artifact server without files."""
    async with artifact_server.opened() as server, AsyncExitStack() as stack:
        yield CacheHarness(server, tmp_path / "cache", stack)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 2 MiB."""
    with disk(tmp_path / "disk", mebibytes=2) as folder:
        yield folder
