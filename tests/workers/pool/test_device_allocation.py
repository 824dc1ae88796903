"""Proves which model has which GPU, with a played `nvidia-smi`: this machine may have none.

That CUDA then uses no other device is CUDA's promise, which nothing here can prove.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.played_gpus import FIRST, MIB, SECOND, PlayedGpus
from tests.support.waiting import until
from tests.workers.conftest import Files, LiveLimits, key, load
from tests.workers.pool.calls import command, predict
from workers.devices.inventory import VISIBLE_DEVICES, DeviceInventory
from workers.errors import CapacityExceeded, ModelLoadError, PoolClosed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.workers.pool.calls import Opened
    from workers.pool.pool import Pool


@pytest.fixture
def gpus(tmp_path: Path) -> PlayedGpus:
    """Return two played GPUs."""
    return PlayedGpus(tmp_path / "gpus", FIRST, SECOND)


@pytest.fixture
def wanting(folders: dict[str, Path]) -> Callable[[str, int], Files]:
    """A function that returns the files of a model that tells its devices, and wants a share of one."""
    return lambda name, share: Files(key(name), folders["device"], gpu_share=share)


@asynccontextmanager
async def pool_with(opened: Opened, gpus: PlayedGpus, **values: object) -> AsyncIterator[Pool]:
    """Open a pool whose workers see no device unless they are given one."""
    variables = {**os.environ, VISIBLE_DEVICES: ""}
    inventory = DeviceInventory({"PATH": gpus.path(os.environ["PATH"])}, timeout_seconds=30.0)
    async with opened(environment=variables, devices=inventory, **values) as pool:
        yield pool


async def seen(pool: Pool, name: str) -> str:
    """Return the devices that a model found when it was loaded."""
    answer = await predict(pool, name, command("x"))
    assert isinstance(answer, list)
    return str(answer[0])


async def worker_of(pool: Pool, name: str) -> int:
    """Return the process id of a model's worker."""
    answer = await predict(pool, name, command("x"))
    assert isinstance(answer, list)
    return int(answer[1])


async def test_each_model_sees_its_own_device_and_others_see_none(
    opened: Opened, gpus: PlayedGpus, wanting: Callable[[str, int], Files]
) -> None:
    """Two whole shares are two devices, told to CUDA by UUID before the model's code runs."""
    async with pool_with(opened, gpus) as pool:
        for name, share in (("a", 1000), ("b", 1000), ("none", 0)):
            await load(pool, wanting(name, share))
        assert {await seen(pool, "a"), await seen(pool, "b")} == {FIRST, SECOND}
        assert await seen(pool, "none") == ""
        device = pool.status(key("a")).device
        assert device is not None
        assert (device.uuid, device.share) == (await seen(pool, "a"), 1000)
        assert pool.status(key("none")).device is None
        assert gpus.asked().count("list") == 1


async def test_halves_share_a_device_with_one_worker_each(
    opened: Opened, gpus: PlayedGpus, wanting: Callable[[str, int], Files]
) -> None:
    """Each worker would take device memory, so a model on a GPU has one, whatever other models have."""
    async with pool_with(opened, gpus, workers_per_model=2) as pool:
        for name, share in (("a", 500), ("b", 500), ("none", 0)):
            await load(pool, wanting(name, share))
        assert await seen(pool, "a") == await seen(pool, "b")
        assert [pool.status(key(name)).workers for name in ("a", "b", "none")] == [1, 1, 2]
        assert {report.uuid: report.shares_taken for report in pool.device_reports()} == {
            await seen(pool, "a"): 1000,
            ({FIRST, SECOND} - {await seen(pool, "a")}).pop(): 0,
        }


async def test_an_idle_model_gives_its_device_to_the_next(
    opened: Opened, gpus: PlayedGpus, wanting: Callable[[str, int], Files]
) -> None:
    """The least recently used one with a device goes; models without one stay, however long they are idle."""
    async with pool_with(opened, gpus) as pool:
        for name, share in (("none", 0), ("a", 1000), ("b", 1000)):
            await load(pool, wanting(name, share))
        for name in ("none", "b", "a"):
            await seen(pool, name)
        before = await seen(pool, "b")
        await seen(pool, "a")
        await load(pool, wanting("c", 1000))
        assert await seen(pool, "c") == before
        assert [pool.is_loaded(key(name)) for name in ("none", "a", "b")] == [True, True, False]


async def test_a_busy_device_is_waited_for_and_a_pinned_one_is_not(
    opened: Opened, gpus: PlayedGpus, wanting: Callable[[str, int], Files]
) -> None:
    """A load waits until a busy model is idle, as long as a request may take; its answer is not lost."""
    limits = LiveLimits()
    async with pool_with(opened, gpus, limits=limits) as pool:
        for name in ("a", "b"):
            await load(pool, wanting(name, 1000))
        pool.pin(key("b"))
        await seen(pool, "b")
        busy = asyncio.create_task(predict(pool, "a", command("sleep 1")))
        await until(lambda: pool.status(key("a")).running > 0)
        await load(pool, wanting("c", 1000))  # unloads `a`, which it cannot while that is busy
        await busy
        assert not pool.is_loaded(key("a"))
        pool.pin(key("c"))
        pid = await worker_of(pool, "c")
        with pytest.raises(CapacityExceeded, match="wants a GPU, and the models on the 2 of this gateway"):
            await load(pool, wanting("d", 1000))
        pool.unpin(key("c"))
        limits.set(request_seconds=0.3)
        os.kill(pid, signal.SIGSTOP)
        try:
            busy = asyncio.create_task(predict(pool, "c", command("x")))
            await until(lambda: pool.status(key("c")).running > 0)
            with pytest.raises(CapacityExceeded):
                await load(pool, wanting("d", 1000))
            assert not busy.done()
        finally:
            os.kill(pid, signal.SIGCONT)
        await busy
        assert pool.is_loaded(key("c"))


async def test_without_devices_a_model_that_wants_one_fails(
    opened: Opened, gpus: PlayedGpus, wanting: Callable[[str, int], Files]
) -> None:
    """The error comes at once; when the driver lists a device later, the next try finds it."""
    listed = (gpus.folder / "list").read_text()
    gpus.write("list", "")
    async with pool_with(opened, gpus, load_retry_seconds=0.1) as pool:
        with pytest.raises(ModelLoadError, match=r"wants a GPU .* has none for models"):
            await load(pool, wanting("a", 1))
        gpus.write("list", listed)
        await until(lambda: pool.status(key("a")).state == "cold")
        await load(pool, wanting("a", 1))
        assert await seen(pool, "a") in {FIRST, SECOND}
    async with opened() as pool:
        with pytest.raises(ModelLoadError, match="has none for models"):
            await load(pool, wanting("a", 1))


async def test_a_replaced_worker_has_the_same_device(
    opened: Opened, gpus: PlayedGpus, wanting: Callable[[str, int], Files]
) -> None:
    """A crash neither frees the share nor moves the model."""
    async with pool_with(opened, gpus) as pool:
        await load(pool, wanting("a", 1000))
        answer = await predict(pool, "a", command("x"))
        assert isinstance(answer, list)
        os.kill(int(answer[1]), signal.SIGKILL)
        await until(lambda: pool.status(key("a")).workers == 0)
        assert await seen(pool, "a") == answer[0]
        assert sum(report.shares_taken for report in pool.device_reports()) == 1000


async def test_failed_loads_and_unloads_give_the_share_back(
    opened: Opened, gpus: PlayedGpus, wanting: Callable[[str, int], Files], folders: dict[str, Path]
) -> None:
    """However a load ends, no share is lost."""
    async with pool_with(opened, gpus) as pool:
        for how in ("raise", "die"):
            with pytest.raises(ModelLoadError):
                await load(pool, Files(key(how), folders[how], gpu_share=1000))
        hanging = asyncio.create_task(load(pool, Files(key("hang"), folders["hang"], gpu_share=1000)))
        await until(lambda: sum(report.shares_taken for report in pool.device_reports()) == 1000)
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        await load(pool, wanting("a", 700))
        await pool.unload(key("a"))
        assert [report.shares_taken for report in pool.device_reports()] == [0, 0]


async def test_measured_memory_is_told_and_decides(
    opened: Opened, gpus: PlayedGpus, wanting: Callable[[str, int], Files], caplog: pytest.LogCaptureFixture
) -> None:
    """A model's device memory is in its status; when it comes back it goes where there is that much free."""
    async with pool_with(opened, gpus) as pool:
        await load(pool, wanting("a", 100))
        answer = await predict(pool, "a", command("x"))
        assert isinstance(answer, list)
        uuid, pid = answer
        gpus.use_memory({uuid: 9_000})
        gpus.use_by_process({int(pid): 9_000})
        await pool._devices.measure()
        device = pool.status(key("a")).device
        assert device is not None
        assert device.memory_bytes == 9_000 * MIB
        assert "Model a/1 uses 9000 MiB of its GPU, which is more than its share of 0.1" in caplog.text
        memory = {report.uuid: report.memory for report in pool.device_reports()}
        assert memory[uuid] is not None
        await pool.unload(key("a"))
        gpus.use_memory({uuid: 8_000})  # another program's
        pool._devices._measured_at = float("-inf")
        await load(pool, wanting("a", 100))
        assert await seen(pool, "a") == ({FIRST, SECOND} - {uuid}).pop()


async def test_a_closing_pool_ends_the_wait_for_a_device(
    opened: Opened, gpus: PlayedGpus, wanting: Callable[[str, int], Files]
) -> None:
    """A load that waits for a device fails with PoolClosed, and the pool closes."""
    async with pool_with(opened, gpus) as pool:
        for name in ("a", "b"):
            await load(pool, wanting(name, 1000))
        calls = [asyncio.create_task(predict(pool, name, command("sleep 30"))) for name in ("a", "b")]
        await until(lambda: all(pool.status(key(name)).running for name in ("a", "b")))
        waiting = asyncio.create_task(load(pool, wanting("c", 1000)))
        await until(lambda: pool.status(key("c")).state == "loading")
    with pytest.raises(PoolClosed):
        await waiting
    await asyncio.gather(*calls, return_exceptions=True)
