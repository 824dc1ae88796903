"""Proves what a gateway does while its artifact store or its cache is broken, and that it recovers."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
from contextlib import asynccontextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pytest

from gateway.api.keys import COMPONENTS
from tests.support import model_shelf
from tests.support.callers import CALLERS, calling
from tests.support.disks import disk
from tests.support.figures import note
from tests.support.gateways import NO_WALL, Gateway, gateway_at, invoke
from tests.support.s3_server import s3_server
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.support.callers import Callers
    from tests.support.mlflow_server import MlflowServer
    from tests.support.s3_server import S3Server

__all__ = ["s3_server"]

PATIENCE_SECONDS = 80
MIB = 2**20


@pytest.fixture
def source(mlflow_server: MlflowServer, registered: list[str]) -> MlflowServer:
    """A real MLflow server with the model whose files the tests copy."""
    return mlflow_server


async def unload(gateway: Gateway, name: str) -> None:
    """Unload the model; its files stay in the cache."""
    engine = gateway.app[COMPONENTS].engine
    await engine.unload(*(key for key in engine.statuses() if key.name == name))


async def failure(gateway: Gateway, name: str, *statuses: int) -> str:
    """Send a request that fails with one of these statuses; return its message, which names no folder."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        status, error = await invoke(gateway, model_shelf.path_of(name))
    assert status in statuses, error
    message: str = error["message"]
    assert "/tmp" not in message  # noqa: S108 - the parent of the tests' folders
    return message


async def served(gateway: Gateway, name: str) -> float:
    """Send requests until the model is served, and return the seconds until then."""
    began = perf_counter()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            status, answer = await invoke(gateway, model_shelf.path_of(name))
            if status == 200:
                assert answer["predictions"] == model_shelf.RIGHT
                return perf_counter() - began
            await asyncio.sleep(0.1)


@asynccontextmanager
async def warm(gateway: Gateway, name: str) -> AsyncIterator[Callers]:
    """Let eight clients use the loaded model while the context lasts; each response must be right."""
    await served(gateway, name)
    async with calling(gateway, {model_shelf.path_of(name): model_shelf.RIGHT}) as callers:
        yield callers
        afterwards = callers.right + CALLERS
        await until(lambda: callers.right >= afterwards, within=PATIENCE_SECONDS)
    assert callers.wrong == {}


def partials(cache: Path) -> list[Path]:
    """Return the incomplete downloads in the cache."""
    return list((cache / "v1" / "partial").iterdir())


def model_folder(cache: Path, name: str) -> Path:
    """Return the folder of the model `name` in the cache."""
    (found,) = [
        file.parent
        for file in (cache / "v1" / "models").glob("*/manifest.json")
        if json.loads(file.read_text())["model"].startswith(f"{name}/")
    ]
    return found


# --- S3


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["killed", "stopped"])
async def test_an_s3_store_that_is_unavailable(
    source: MlflowServer,
    s3_server: S3Server,
    tmp_path: Path,
    fault: str,
) -> None:
    """Loaded and cached models are served; others fail with 503 or 504, and are served again later."""
    names = [f"s3-{fault}-{number}" for number in range(3)]
    for name in names:
        await model_shelf.put_in_s3(source, s3_server, name)
    hot, cached, unknown = names
    async with gateway_at(source.url, tmp_path, **s3_server.environment) as gateway:
        await served(gateway, cached)
        await unload(gateway, cached)
        async with warm(gateway, hot):
            with broken(s3_server, fault):
                began = perf_counter()
                assert "S3 store" in await failure(gateway, unknown, 503, 504)
                first = perf_counter() - began
                began = perf_counter()
                await failure(gateway, unknown, 503, 504)
                second = perf_counter() - began
                assert await served(gateway, cached) < PATIENCE_SECONDS
                assert partials(tmp_path) == []
            took = await served(gateway, unknown)
    note(f"S3 {fault}", failed=first, failed_again=second, answered=took)


@pytest.mark.slow
async def test_downloads_from_a_hanging_store_take_half_of_the_slots_at_most(
    source: MlflowServer, s3_server: S3Server, tmp_path: Path
) -> None:
    """Whatever the number of requested models, some stay loaded, and cached ones can be loaded."""
    names = [f"s3-places-{number}" for number in range(7)]
    for name in names:
        await model_shelf.put_in_s3(source, s3_server, name)
    near, unknown = names[:3], names[3:]
    values = {**s3_server.environment, "GATEWAY_MAX_LOADED_MODELS": "4"}
    async with gateway_at(source.url, tmp_path, **values) as gateway:
        for name in near:
            await served(gateway, name)
        await unload(gateway, near[2])
        with broken(s3_server, "stopped"):
            requests = [asyncio.create_task(failure(gateway, name, 503, 504)) for name in unknown]
            engine = gateway.app[COMPONENTS].engine
            await until(lambda: sum(each.state == "loading" for each in engine.statuses().values()) == 2)
            await asyncio.sleep(1.0)  # no third download may begin
            assert sum(each.state == "loading" for each in engine.statuses().values()) == 2
            for name in near:
                assert await served(gateway, name) < PATIENCE_SECONDS
            assert not any(task.done() for task in requests)
            messages = await asyncio.gather(*requests)
    assert len([message for message in messages if "S3 store" in message]) >= 2


class broken:  # noqa: N801 - read as a word: with broken(store, "killed")
    """A context in which the S3 server is killed or stopped."""

    def __init__(self, store: S3Server, fault: str) -> None:
        self._store = store
        self._fault = fault
        self._command: list[str] = []

    def __enter__(self) -> None:
        if self._fault == "killed":
            self._command = self._store.killed()
        else:
            os.kill(self._store.pid, signal.SIGSTOP)

    def __exit__(self, *_: object) -> None:
        if self._fault == "killed":
            self._store.start_again(self._command)
        else:
            os.kill(self._store.pid, signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["changed", "truncated", "vanished"])
async def test_an_object_that_is_damaged_in_its_store(
    source: MlflowServer,
    s3_server: S3Server,
    tmp_path: Path,
    fault: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Requests fail with 502 or 504 and cause few downloads; once the object is repaired it is served.

    The server sends the rest of a truncated object, and then nothing: that is 504.
    """
    caplog.set_level(logging.INFO, "gateway")
    name, hot = f"s3-{fault}", f"s3-{fault}-hot"
    await model_shelf.put_in_s3(source, s3_server, hot)
    await model_shelf.put_in_s3(source, s3_server, name)
    (damaged,) = [
        line for line in s3_server.rados("ls").splitlines() if line.endswith(f"_{name}/python_model.pkl")
    ]
    saved = tmp_path / "saved"
    s3_server.rados("get", damaged, str(saved))
    async with gateway_at(source.url, tmp_path / "cache", **s3_server.environment) as gateway:
        async with warm(gateway, hot):
            damage_object(
                s3_server, damaged, fault=fault, scratch=tmp_path / "scratch", whole=saved.read_bytes()
            )
            began = perf_counter()
            messages = await asyncio.gather(*(failure(gateway, name, 502, 504) for _ in range(CALLERS)))
            messages += [await failure(gateway, name, 502, 504) for _ in range(20)]
            seconds = perf_counter() - began
            tries = sum(record.model == f"{name}/1" for record in events(caplog, "download_started"))
            assert tries <= 2 + seconds / 2, caplog.text
            assert partials(tmp_path / "cache") == []
        await repair(source, s3_server, name)
        note(f"S3 object {fault}", answered=await served(gateway, name))


def damage_object(store: S3Server, name: str, *, fault: str, scratch: Path, whole: bytes) -> None:
    """Change, truncate or remove an object; the S3 server still reports the old size and digest."""
    if fault == "changed":
        scratch.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        # Written in place: a new object would lack the metadata of the S3 server.
        store.rados("put", name, str(scratch), "--offset", "0")
    elif fault == "truncated":
        store.rados("truncate", name, str(len(whole) // 2))
    else:
        store.rados("rm", name)


async def repair(server: MlflowServer, store: S3Server, name: str) -> None:
    """Put the right content into the object."""
    async with store.client() as client:
        content = (model_shelf.original(server) / "python_model.pkl").read_bytes()
        await client.put_object(Bucket=store.bucket, Key=f"{name}/python_model.pkl", Body=content)


# --- the cache


def flip(folder: Path) -> None:
    """Change a bit of a file; its size and time stay."""
    file = folder / "files" / "python_model.pkl"
    before, content = file.stat(), bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(folder: Path) -> None:
    """Replace the folder with a file."""
    shutil.rmtree(folder)
    folder.write_text("not a folder")


# Each damage, and the problem that the log names; None if unexpected files are removed.
DAMAGES: dict[str, tuple[Callable[[Path], Any], str | None]] = {
    "flipped": (flip, "'python_model.pkl' has another digest"),
    "removed": (lambda folder: (folder / "files" / "MLmodel").unlink(), "'MLmodel' is not a file"),
    "emptied": (lambda folder: (folder / "files" / "MLmodel").write_bytes(b""), "'MLmodel' has another size"),
    "replaced": (replace, "no readable manifest"),
    "garbage": (lambda folder: (folder / "manifest.json").write_text("[" * 99_999), "no readable manifest"),
    "nothing": (
        lambda folder: (folder / "manifest.json").write_text('{"model": "x", "files": []}'),
        "the list of files is another than before",
    ),
    "added": (lambda folder: (folder / "files" / "numpy.py").write_text("raise SystemExit"), None),
}


def events(caplog: pytest.LogCaptureFixture, *names: str) -> list[Any]:
    """Return the log records of these events."""
    return [record for record in caplog.records if getattr(record, "event", "") in names]


def cache_events(caplog: pytest.LogCaptureFixture) -> list[Any]:
    """Return the log records about files in the cache that are not as they should be."""
    return events(caplog, "cached_files_damaged", "unexpected_files_removed")


async def test_a_cache_damaged_by_hand(
    source: MlflowServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A loaded model is served on; its next load finds the damage, downloads the files again and succeeds."""
    name = "cache-damaged"
    model_shelf.put(source, name)
    # Behind the wall only the gateway writes there, and files that it has verified are not read again.
    async with gateway_at(source.url, tmp_path, **NO_WALL) as gateway:
        await served(gateway, name)
        for damage, problem in DAMAGES.values():
            caplog.clear()
            async with warm(gateway, name):
                await asyncio.to_thread(damage, model_folder(tmp_path, name))
            assert cache_events(caplog) == []
            await unload(gateway, name)
            status, answer = await invoke(gateway, model_shelf.path_of(name))
            assert (status, answer["predictions"]) == (200, model_shelf.RIGHT)
            (record,) = cache_events(caplog)
            if problem is None:
                assert (record.event, record.files) == ("unexpected_files_removed", 1)
            else:
                assert record.event == "cached_files_damaged"
                assert problem in record.problem
            assert partials(tmp_path) == []
            assert not (model_folder(tmp_path, name) / "files" / "numpy.py").exists()


async def test_foreign_files_in_the_cache(source: MlflowServer, tmp_path: Path) -> None:
    """Models are downloaded and served although there are other files, links and folders in the cache."""
    model_shelf.put(source, "cache-littered")
    async with gateway_at(source.url, tmp_path) as gateway:
        for folder in ("models", "partial", "locks"):
            (tmp_path / "v1" / folder / "a file").write_text("x")
            (tmp_path / "v1" / folder / "a link").symlink_to("/nowhere")
            (tmp_path / "v1" / folder / "a folder").mkdir()
        assert (await invoke(gateway, model_shelf.path_of("cache-littered")))[0] == 200


# --- the disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 8 MiB."""
    with disk(tmp_path / "disk", mebibytes=8) as folder:
        yield folder


async def test_a_full_disk(source: MlflowServer, small_disk: Path) -> None:
    """A cached model is evicted for a new one, then downloads fail; later they succeed again."""
    for name in ("disk-hot", "disk-old", "disk-new", "disk-none"):
        model_shelf.put(source, name, size=2 * MIB)
    async with gateway_at(source.url, small_disk / "cache") as gateway:
        await served(gateway, "disk-old")
        await unload(gateway, "disk-old")
        async with warm(gateway, "disk-hot"):
            foreign = small_disk / "foreign"
            foreign.write_bytes(b"x" * (7 * MIB // 2))
            assert await served(gateway, "disk-new") < PATIENCE_SECONDS
            assert len(list((small_disk / "cache" / "v1" / "models").iterdir())) == 2
            message = await failure(gateway, "disk-none", 503)
            assert "disk of the artifact cache is full" in message
            assert partials(small_disk / "cache") == []
            foreign.unlink()
            note("disk full", answered=await served(gateway, "disk-none"))


async def test_a_start_with_a_full_disk(source: MlflowServer, small_disk: Path) -> None:
    """The gateway starts, and its errors name the full disk; it downloads once there is space."""
    model_shelf.put(source, "disk-start", size=MIB)
    foreign = small_disk / "foreign"
    with foreign.open("wb") as file:
        file.truncate(0)
        os.posix_fallocate(file.fileno(), 0, 8 * MIB - 4096)
    async with gateway_at(source.url, small_disk / "cache") as gateway:
        assert "full" in await failure(gateway, "disk-start", 503)
        foreign.unlink()
        await served(gateway, "disk-start")
