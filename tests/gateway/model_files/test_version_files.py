"""Proves that versions' files are parsed one at a time, once for all callers, in a thread that ends."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from gateway.artifacts.cache import ArtifactCache
from gateway.catalog import Catalog
from gateway.concurrency.singleflight import SingleFlightClosed
from gateway.domain.refs import ModelRef, Number
from gateway.errors import BadUpstreamResponse
from gateway.mlflow_client import MlflowClient
from gateway.model_files.version_files import FileKind, VersionFiles
from gateway.settings import CurrentSettings, load
from tests.support.mlflow_records import create_run, create_version, put_artifact, unique_name
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.domain.models import ModelVersion
    from tests.support.mlflow_server import MlflowServer

THREAD = "model-files"


class Parser:
    """A parser of files that waits until it is released, and records how often and where it runs."""

    def __init__(self, *, released: bool = True) -> None:
        self.release = threading.Event()
        if released:
            self.release.set()
        self.threads: list[str] = []
        self.running = self.most_running = 0

    def __call__(self, data: bytes) -> str:
        self.threads.append(threading.current_thread().name)
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        assert self.release.wait(60)
        self.running -= 1
        if data == b"bad":
            raise ValueError("bad")
        return data.decode()

    def kind(self, path: str = "a.txt", *, size: int = 10) -> FileKind[str]:
        """Return a kind of file that this parses to `size` bytes."""
        return FileKind(path, self, lambda _: size)


@asynccontextmanager
async def opened(
    server: MlflowServer, folder: Path, **options: Any
) -> AsyncIterator[tuple[VersionFiles, ModelVersion, ModelVersion]]:
    """Open a reader of the files of two versions, both with the files `a.txt`, `b.txt` and `bad.txt`."""
    settings = load({"MLFLOW_TRACKING_URI": server.url, "GATEWAY_CACHE_DIR": str(folder)})
    name = unique_name("files")
    server.call("registered-models/create", {"name": name})
    for _ in range(2):
        run = create_run(server, "0")
        for path, text in (("a.txt", "a"), ("b.txt", "b"), ("bad.txt", "bad")):
            put_artifact(server, f"{run['artifact_uri']}/model/{path}", text)
        create_version(server, name, run)
    async with MlflowClient(settings.mlflow) as client:
        catalog = Catalog(client, CurrentSettings(settings))
        artifacts = ArtifactCache(settings, client)
        await artifacts.open()
        files = VersionFiles(catalog, artifacts, **options)
        one, two = [await catalog.get_version(ModelRef(name, Number(number))) for number in (1, 2)]
        try:
            yield files, one, two
        finally:
            await files.close()
            await artifacts.close()
            await catalog.close()


async def test_one_file_at_a_time(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """Files of several versions are parsed one after the other, in one thread; callers of a file share it."""
    parser = Parser(released=False)
    async with opened(mlflow_server, tmp_path) as (files, one, two):
        wanted = [(version, parser.kind(path)) for version in (one, two) for path in ("a.txt", "b.txt")] * 5
        readers = [asyncio.ensure_future(files.read(version, kind)) for version, kind in wanted]
        await until(lambda: parser.running == 1)
        parser.release.set()
        assert await asyncio.gather(*readers) == ["a", "b"] * 10
    assert (len(parser.threads), parser.most_running) == (4, 1)
    assert {name.rpartition("_")[0] for name in parser.threads} == {THREAD}


async def test_a_caller_that_leaves(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """It does not wait for the thread; another caller gets the result, and no later one parses again."""
    parser = Parser(released=False)
    async with opened(mlflow_server, tmp_path) as (files, one, _):
        leaving = asyncio.ensure_future(files.read(one, parser.kind()))
        await until(lambda: parser.running == 1)
        staying = asyncio.ensure_future(files.read(one, parser.kind()))
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        parser.release.set()
        assert await staying == await files.read(one, parser.kind()) == "a"
    assert len(parser.threads) == 1


async def test_an_invalid_file_is_parsed_once(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """Every caller gets the error."""
    parser = Parser()
    async with opened(mlflow_server, tmp_path) as (files, one, _):
        for _attempt in range(3):
            with pytest.raises(BadUpstreamResponse, match=r"The bad\.txt file of .* is invalid"):
                await files.read(one, parser.kind("bad.txt"))
    assert len(parser.threads) == 1


async def test_a_missing_file(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """It is None, without an error."""
    async with opened(mlflow_server, tmp_path) as (files, one, _):
        assert await files.read(one, Parser().kind("no.txt")) is None


@pytest.mark.parametrize(("size", "parsed"), [(10, 2), (3000, 4), (9000, 4)])
async def test_what_is_kept_is_bounded(
    mlflow_server: MlflowServer, tmp_path: Path, size: int, parsed: int
) -> None:
    """Of two files that are too large together the older is parsed again, and one too large is not kept."""
    parser = Parser()
    async with opened(mlflow_server, tmp_path, max_cached_bytes=7000) as (files, one, two):
        for version in (one, two, one, two):
            assert await files.read(version, parser.kind(size=size)) == "a"
    assert len(parser.threads) == parsed


async def test_the_end(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """Closing waits for the file that is being parsed, leaves the rest, and ends the thread."""
    parser, before = Parser(released=False), threading.enumerate()
    async with opened(mlflow_server, tmp_path) as (files, one, two):
        readers = [asyncio.ensure_future(files.read(version, parser.kind())) for version in (one, two)]
        await until(lambda: parser.running == 1)
        closing = asyncio.ensure_future(files.close())
        errors = await asyncio.gather(*readers, return_exceptions=True)
        assert [type(error) for error in errors] == [SingleFlightClosed] * 2
        parser.release.set()
        await closing
    assert len(parser.threads) == 1
    started = set(threading.enumerate()) - set(before)
    assert not [thread for thread in started if thread.name.startswith(THREAD)]
