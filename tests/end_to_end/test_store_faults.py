"""A whole gateway while its artifact store or its own cache is broken, and afterwards."""

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
from tests.support.gateways import Gateway, gateway_at, invoke
from tests.support.s3_server import s3_server
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.support.callers import Callers
    from tests.support.mlflow_server import MlflowServer
    from tests.support.s3_server import S3Server

__all__ = ["s3_server"]

BOUND_SECONDS = 80
MIB = 2**20


@pytest.fixture
def source(mlflow_server: MlflowServer, registered: list[str]) -> MlflowServer:
    """A real MLflow server with the model that the tests put on their shelf."""
    return mlflow_server


async def unload(gateway: Gateway, name: str) -> None:
    """End the model's workers: its files stay in the cache."""
    pool = gateway.app[COMPONENTS].pool
    await pool.unload(*(key for key in pool.statuses() if key.name == name))


async def refused(gateway: Gateway, name: str, *statuses: int) -> str:
    """The message of a refusal by one of these statuses, which names no folder."""
    async with asyncio.timeout(BOUND_SECONDS):
        status, told = await invoke(gateway, model_shelf.path_of(name))
    assert status in statuses, told
    message: str = told["message"]
    assert "/tmp" not in message  # noqa: S108 - where the tests' folders are
    return message


async def answered(gateway: Gateway, name: str) -> float:
    """After how many seconds the model answers right, asked again and again."""
    began = perf_counter()
    async with asyncio.timeout(BOUND_SECONDS):
        while True:
            status, answer = await invoke(gateway, model_shelf.path_of(name))
            if status == 200:
                assert answer["predictions"] == model_shelf.RIGHT
                return perf_counter() - began
            await asyncio.sleep(0.1)


@asynccontextmanager
async def warm(gateway: Gateway, name: str) -> AsyncIterator[Callers]:
    """Eight clients ask the warm model meanwhile, and every one of their answers is right."""
    await answered(gateway, name)
    async with calling(gateway, {model_shelf.path_of(name): model_shelf.RIGHT}) as callers:
        yield callers
        afterwards = callers.right + CALLERS
        await until(lambda: callers.right >= afterwards, within=BOUND_SECONDS)
    assert callers.wrong == {}


def partials(cache: Path) -> list[Path]:
    """What is half done in the cache."""
    return list((cache / "v1" / "partial").iterdir())


def place(cache: Path, name: str) -> Path:
    """The folder of the model `name` in the cache."""
    (found,) = [
        file.parent
        for file in (cache / "v1" / "models").glob("*/manifest.json")
        if json.loads(file.read_text())["model"].startswith(f"{name}/")
    ]
    return found


# --- S3


@pytest.mark.parametrize("fault", ["killed", "stopped"])
async def test_an_s3_store_that_is_away(
    source: MlflowServer,
    s3_server: S3Server,
    tmp_path: Path,
    fault: str,
) -> None:
    """Warm and cached models answer on; others 503 or 504 with the reason, and by themselves again later."""
    names = [f"s3-{fault}-{number}" for number in range(3)]
    for name in names:
        await model_shelf.put_in_s3(source, s3_server, name)
    hot, cached, unknown = names
    async with gateway_at(source.url, tmp_path, **s3_server.environment) as gateway:
        await answered(gateway, cached)
        await unload(gateway, cached)
        async with warm(gateway, hot):
            with broken(s3_server, fault):
                began = perf_counter()
                assert "S3 store" in await refused(gateway, unknown, 503, 504)
                first = perf_counter() - began
                began = perf_counter()
                await refused(gateway, unknown, 503, 504)
                second = perf_counter() - began
                assert await answered(gateway, cached) < BOUND_SECONDS
                assert partials(tmp_path) == []
            took = await answered(gateway, unknown)
    note(f"S3 {fault}", refused=first, refused_again=second, answered=took)


async def test_a_store_that_hangs_gets_no_more_than_half_of_the_places(
    source: MlflowServer, s3_server: S3Server, tmp_path: Path
) -> None:
    """However many unknown models are asked, some stay warm, and those in the cache can be loaded."""
    names = [f"s3-places-{number}" for number in range(7)]
    for name in names:
        await model_shelf.put_in_s3(source, s3_server, name)
    near, unknown = names[:3], names[3:]
    values = {**s3_server.environment, "GATEWAY_MAX_LOADED_MODELS": "4"}
    async with gateway_at(source.url, tmp_path, **values) as gateway:
        for name in near:
            await answered(gateway, name)
        await unload(gateway, near[2])
        with broken(s3_server, "stopped"):
            asked = [asyncio.create_task(refused(gateway, name, 503, 504)) for name in unknown]
            await asyncio.sleep(5.0)
            loading = [
                key
                for key, state in gateway.app[COMPONENTS].pool.statuses().items()
                if state.state == "loading"
            ]
            assert len(loading) == 2
            for name in near:
                assert await answered(gateway, name) < BOUND_SECONDS / 4
            assert not any(task.done() for task in asked)
            told = await asyncio.gather(*asked)
    assert len([message for message in told if "S3 store" in message]) >= 2


class broken:  # noqa: N801 - read as a word: with broken(store, "killed")
    """The S3 server is killed, or stopped, meanwhile."""

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


@pytest.mark.parametrize("fault", ["changed", "truncated", "vanished"])
async def test_an_object_that_is_spoilt_in_its_store(
    source: MlflowServer,
    s3_server: S3Server,
    tmp_path: Path,
    fault: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Behind the server's back: 502 or 504 with the reason, few tries for many requests; right once mended.

    Of an object that was cut off the server sends what there is, and then nothing: that is 504.
    """
    caplog.set_level(logging.INFO, "gateway")
    name, hot = f"s3-{fault}", f"s3-{fault}-hot"
    await model_shelf.put_in_s3(source, s3_server, hot)
    await model_shelf.put_in_s3(source, s3_server, name)
    (spoilt,) = [
        line for line in s3_server.rados("ls").splitlines() if line.endswith(f"_{name}/python_model.pkl")
    ]
    saved = tmp_path / "saved"
    s3_server.rados("get", spoilt, str(saved))
    async with gateway_at(source.url, tmp_path / "cache", **s3_server.environment) as gateway:
        async with warm(gateway, hot):
            spoil(s3_server, spoilt, fault=fault, scratch=tmp_path / "scratch", whole=saved.read_bytes())
            began = perf_counter()
            messages = await asyncio.gather(*(refused(gateway, name, 502, 504) for _ in range(CALLERS)))
            messages += [await refused(gateway, name, 502, 504) for _ in range(20)]
            seconds = perf_counter() - began
            tries = caplog.text.count(f"Downloading {name}/1 from ")
            assert tries <= 2 + seconds / 2, caplog.text
            assert partials(tmp_path / "cache") == []
        await mend(source, s3_server, name)
        note(f"S3 object {fault}", answered=await answered(gateway, name))


def spoil(store: S3Server, name: str, *, fault: str, scratch: Path, whole: bytes) -> None:
    """Change, cut off or remove an object of which the S3 server goes on to tell the old size and digest."""
    if fault == "changed":
        scratch.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        # Written in place: to put it anew would take the server's own notes away with it.
        store.rados("put", name, str(scratch), "--offset", "0")
    elif fault == "truncated":
        store.rados("truncate", name, str(len(whole) // 2))
    else:
        store.rados("rm", name)


async def mend(server: MlflowServer, store: S3Server, name: str) -> None:
    """Put the object's right content in its place."""
    async with store.client() as client:
        content = (model_shelf.original(server) / "python_model.pkl").read_bytes()
        await client.put_object(Bucket=store.bucket, Key=f"{name}/python_model.pkl", Body=content)


# --- the cache


def flip(folder: Path) -> None:
    """Another bit in a file that keeps its size and its time."""
    file = folder / "files" / "python_model.pkl"
    before, content = file.stat(), bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(folder: Path) -> None:
    """A file in place of the folder."""
    shutil.rmtree(folder)
    folder.write_text("what is this?")


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "flipped": (flip, "'python_model.pkl' has another digest"),
    "removed": (lambda folder: (folder / "files" / "MLmodel").unlink(), "'MLmodel' is not a file"),
    "emptied": (lambda folder: (folder / "files" / "MLmodel").write_bytes(b""), "'MLmodel' has another size"),
    "replaced": (replace, "no readable manifest"),
    "garbage": (lambda folder: (folder / "manifest.json").write_text("[" * 99_999), "no readable manifest"),
    "nothing": (
        lambda folder: (folder / "manifest.json").write_text('{"model": "x", "files": []}'),
        "no model",
    ),
    "added": (
        lambda folder: (folder / "files" / "numpy.py").write_text("raise SystemExit"),
        "Removed 1 unexpected",
    ),
}


async def test_a_cache_damaged_by_hand(
    source: MlflowServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """While it is warm, without a restart: it answers on; the next load finds the damage and is right."""
    name = "cache-damaged"
    model_shelf.put(source, name)
    async with gateway_at(source.url, tmp_path) as gateway:
        await answered(gateway, name)
        for damage, told in DAMAGES.values():
            caplog.clear()
            async with warm(gateway, name):
                await asyncio.to_thread(damage, place(tmp_path, name))
            assert caplog.text.lower().count("the cached files of") == 0
            await unload(gateway, name)
            status, answer = await invoke(gateway, model_shelf.path_of(name))
            assert (status, answer["predictions"]) == (200, model_shelf.RIGHT)
            assert caplog.text.lower().count("the cached files of") == 1
            assert told in caplog.text
            assert partials(tmp_path) == []
            assert not (place(tmp_path, name) / "files" / "numpy.py").exists()


async def test_what_is_put_beside_the_models_hinders_nobody(source: MlflowServer, tmp_path: Path) -> None:
    """Files and links in the cache's own folders: models are fetched as ever."""
    model_shelf.put(source, "cache-littered")
    async with gateway_at(source.url, tmp_path) as gateway:
        for folder in ("models", "partial", "locks"):
            (tmp_path / "v1" / folder / "a file").write_text("?")
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
    """Somebody else's file fills it: the cached model gives way, then it is said; later it fits by itself."""
    for name in ("disk-hot", "disk-old", "disk-new", "disk-none"):
        model_shelf.put(source, name, size=2 * MIB)
    async with gateway_at(source.url, small_disk / "cache") as gateway:
        await answered(gateway, "disk-old")
        await unload(gateway, "disk-old")
        async with warm(gateway, "disk-hot"):
            foreign = small_disk / "foreign"
            foreign.write_bytes(b"x" * (7 * MIB // 2))
            assert await answered(gateway, "disk-new") < BOUND_SECONDS
            assert len(list((small_disk / "cache" / "v1" / "models").iterdir())) == 2
            message = await refused(gateway, "disk-none", 503)
            assert "disk of the artifact cache is full" in message
            assert partials(small_disk / "cache") == []
            foreign.unlink()
            note("disk full", answered=await answered(gateway, "disk-none"))


async def test_a_start_with_a_full_disk(source: MlflowServer, small_disk: Path) -> None:
    """The gateway starts and tells why nothing can be fetched; and fetches once there is room."""
    model_shelf.put(source, "disk-start", size=MIB)
    foreign = small_disk / "foreign"
    with foreign.open("wb") as file:
        file.truncate(0)
        os.posix_fallocate(file.fileno(), 0, 8 * MIB - 4096)
    async with gateway_at(source.url, small_disk / "cache") as gateway:
        assert "full" in await refused(gateway, "disk-start", 503)
        foreign.unlink()
        await answered(gateway, "disk-start")
