"""Proves that cached models are complete or absent, downloaded once, and verified before use."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import stat
from typing import TYPE_CHECKING

import pytest

from gateway.concurrency.singleflight import SingleFlightClosed
from gateway.errors import ArtifactsNotFound, BadUpstreamResponse, CacheUnusable, UpstreamUnavailable
from tests.gateway.artifacts.conftest import key

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateway.artifacts.conftest import CacheHarness

CALLERS = 64


def contents(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below `folder` by its relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


async def test_a_model_arrives_as_it_is_in_its_store(harness: CacheHarness) -> None:
    """Every file, even an empty one, is at its relative path with its content; there are no other files."""
    uri = harness.server.add_model("wine", size=3_000_001)
    harness.server.files["wine/empty"] = b""
    harness.server.files["wine/näme with + (1)%41.txt"] = b"odd"
    cache = await harness.open_cache()
    assert uri == await harness.locate("wine")()
    async with harness.lease(cache, "wine") as folder:
        found = contents(folder)
    pattern = bytes(range(256)) * 1024
    large = b"".join(pattern[: min(len(pattern), 3_000_001 - at)] for at in range(0, 3_000_001, len(pattern)))
    assert found == {
        "MLmodel": b"flavors: {}\nname: wine\n",
        "data/model.bin": large,
        "empty": b"",
        "näme with + (1)%41.txt": b"odd",
    }
    assert harness.partial_files() == []


async def test_only_this_user_can_read_the_cache(harness: CacheHarness) -> None:
    """Every folder has mode 0700 and every file 0600, and no path contains the model's name."""
    harness.server.add_model("wine")
    harness.server.files["wine/data/more/of/it.txt"] = b""
    cache = await harness.open_cache()
    await harness.fetch(cache, "wine")
    for path in [harness.folder, *harness.folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
        assert "wine" not in path.name


async def test_a_model_is_located_and_downloaded_once(harness: CacheHarness) -> None:
    """A second lease calls neither MLflow for the location nor the store."""
    harness.server.add_model("wine")
    cache = await harness.open_cache()
    first = await harness.fetch(cache, "wine")

    async def locate() -> str:
        raise AssertionError("located again")

    async with cache.lease(key("wine"), locate) as second:
        assert second == first
    assert set(harness.server.downloads.values()) == {1}


async def test_concurrent_leases_share_one_download(harness: CacheHarness) -> None:
    """All callers wait for one download and get the complete model."""
    harness.server.add_model("wine", size=2_000_000)
    gate = harness.server.add_gate("wine/data/model.bin")
    cache = await harness.open_cache()
    tasks = [asyncio.create_task(harness.fetch(cache, "wine")) for _ in range(CALLERS)]
    await gate.reached.wait()
    gate.open.set()
    folders = await asyncio.gather(*tasks)
    assert len(set(folders)) == 1
    assert (folders[0] / "data" / "model.bin").stat().st_size == 2_000_000
    assert harness.server.downloads["wine/data/model.bin"] == 1


async def test_a_cancelled_caller_does_not_cancel_the_download(harness: CacheHarness) -> None:
    """The first caller is cancelled; the second one still gets the model from the same download."""
    harness.server.add_model("wine")
    gate = harness.server.add_gate("wine/data/model.bin")
    cache = await harness.open_cache()
    first = asyncio.create_task(harness.fetch(cache, "wine"))
    await gate.reached.wait()
    second = asyncio.create_task(harness.fetch(cache, "wine"))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    gate.open.set()
    assert (await second / "MLmodel").is_file()
    assert harness.server.downloads["wine/data/model.bin"] == 1


async def test_closing_cancels_a_download_and_leaves_nothing(harness: CacheHarness) -> None:
    """The caller gets SingleFlightClosed, and neither a model nor partial files are left."""
    harness.server.add_model("wine", size=4_000_000)
    gate = harness.server.add_gate("wine/data/model.bin")
    cache = await harness.open_cache()
    task = asyncio.create_task(harness.fetch(cache, "wine"))
    await gate.reached.wait()
    assert harness.partial_files() != []
    await cache.close()
    with pytest.raises(SingleFlightClosed):
        await task
    assert harness.partial_files() == []
    assert harness.models() == []


async def test_a_truncated_download_leaves_nothing_and_can_be_repeated(harness: CacheHarness) -> None:
    """A truncated body is an upstream error, the model is absent, and the next attempt succeeds."""
    harness.server.add_model("wine", size=3_000_000)
    harness.server.cut_at["wine/data/model.bin"] = 1_500_000
    cache = await harness.open_cache()
    with pytest.raises((BadUpstreamResponse, UpstreamUnavailable)):
        await harness.fetch(cache, "wine")
    assert harness.partial_files() == []
    assert harness.models() == []
    harness.server.cut_at.clear()
    folder = await harness.fetch(cache, "wine")
    assert (folder / "data" / "model.bin").stat().st_size == 3_000_000


@pytest.mark.parametrize("difference", [-1, 1])
async def test_a_file_with_another_size_than_listed_is_rejected(
    harness: CacheHarness, difference: int
) -> None:
    """Whether it is shorter or longer than the store lists."""
    harness.server.add_model("wine", size=1000)
    harness.server.listed_sizes["wine/data/model.bin"] = 1000 + difference
    cache = await harness.open_cache()
    with pytest.raises(BadUpstreamResponse, match=r"data/model\.bin"):
        await harness.fetch(cache, "wine")
    assert harness.partial_files() == []
    assert harness.models() == []


async def test_a_file_without_a_listed_size_is_accepted(harness: CacheHarness) -> None:
    """Some stores list no sizes."""
    harness.server.add_model("wine", size=1000)
    harness.server.listed_sizes["wine/data/model.bin"] = None
    folder = await harness.fetch(await harness.open_cache(), "wine")
    assert (folder / "data" / "model.bin").stat().st_size == 1000


async def test_a_location_without_a_model_is_an_error(harness: CacheHarness) -> None:
    """An empty location, and one without an MLmodel file, are rejected before any file is downloaded."""
    harness.server.files["other/readme.txt"] = b"no model"
    cache = await harness.open_cache()
    with pytest.raises(ArtifactsNotFound, match="no files"):
        await harness.fetch(cache, "nowhere")
    with pytest.raises(ArtifactsNotFound, match="no MLmodel file"):
        await harness.fetch(cache, "other")
    assert harness.server.downloads.total() == 0


async def test_damage_is_repaired_at_the_next_start(
    harness: CacheHarness, caplog: pytest.LogCaptureFixture
) -> None:
    """After a changed byte or a missing file or manifest the model is downloaded again; the log says why."""
    harness.server.add_model("wine")
    folder = await harness.fetch(await harness.open_cache(), "wine")
    model = folder / "data" / "model.bin"
    whole = model.read_bytes()
    for damage in (
        lambda: model.write_bytes(whole[:-1] + b"?"),
        model.unlink,
        (folder.parent / "manifest.json").unlink,
    ):
        damage()
        caplog.clear()
        assert await harness.fetch(await harness.open_cache(), "wine") == folder
        assert model.read_bytes() == whole
        assert "damaged" in caplog.text
    assert harness.server.downloads["wine/data/model.bin"] == 4
    assert harness.partial_files() == []


async def test_damage_is_repaired_at_the_next_lease(
    harness: CacheHarness, caplog: pytest.LogCaptureFixture
) -> None:
    """In the same process: a changed bit with the old modification time, and an added file."""
    harness.server.add_model("wine")
    cache = await harness.open_cache()
    model = await harness.fetch(cache, "wine") / "data" / "model.bin"
    before, whole = model.stat(), model.read_bytes()
    model.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns))
    await harness.fetch(cache, "wine")
    assert model.read_bytes() == whole
    assert "another digest" in caplog.text
    caplog.clear()
    added = model.with_name("added.py")
    added.write_text("raise SystemExit")
    for _ in range(2):
        await harness.fetch(cache, "wine")
    assert not added.exists()
    assert [record.getMessage() for record in caplog.records] == [
        "Removed 1 unexpected files from the cached files of wine/1"
    ]
    assert harness.server.downloads["wine/data/model.bin"] == 2


async def test_intact_files_are_not_downloaded_again_after_a_start(harness: CacheHarness) -> None:
    """A new process verifies the cached files and uses them."""
    harness.server.add_model("wine")
    await harness.fetch(await harness.open_cache(), "wine")
    await harness.fetch(await harness.open_cache(), "wine")
    assert harness.server.downloads["wine/data/model.bin"] == 1


async def test_the_log_has_the_start_and_end_of_a_download(
    harness: CacheHarness, caplog: pytest.LogCaptureFixture
) -> None:
    """One line at the start and one at the end, with size and speed, and without a path."""
    harness.server.add_model("wine", size=2_000_000)
    with caplog.at_level(logging.INFO, logger="gateway.artifacts"):
        await harness.fetch(await harness.open_cache(), "wine")
    first, last = [record.getMessage() for record in caplog.records if "ownload" in record.getMessage()]
    assert "wine/1" in first
    assert "2.0 MB" in first
    assert "mlflow-artifacts" in first
    assert last.startswith("Downloaded wine/1: 2.0 MB")
    assert "MB/s" in last
    assert str(harness.folder) not in caplog.text


async def test_one_small_file_is_read_without_the_others(harness: CacheHarness) -> None:
    """From the store if the model is not cached; None if it does not exist, an error over the limit."""
    harness.server.add_model("wine")
    cache = await harness.open_cache()
    locate = harness.locate("wine")
    assert await cache.read_file(key("wine"), locate, "MLmodel") == b"flavors: {}\nname: wine\n"
    assert await cache.read_file(key("wine"), locate, "input_example.json") is None
    with pytest.raises(BadUpstreamResponse, match="over 999 bytes"):
        await cache.read_file(key("wine"), locate, "data/model.bin", limit=999)
    assert "wine/data/model.bin" in harness.server.downloads
    assert harness.models() == []


async def test_a_cached_file_is_read_from_the_cache(harness: CacheHarness) -> None:
    """Neither MLflow nor the store is called, and a damaged file is read from the store instead."""
    harness.server.add_model("wine")
    cache = await harness.open_cache()
    folder = await harness.fetch(cache, "wine")
    harness.server.downloads.clear()
    locate = harness.locate("wine")
    assert await cache.read_file(key("wine"), locate, "MLmodel") == b"flavors: {}\nname: wine\n"
    assert await cache.read_file(key("wine"), locate, "absent.txt") is None
    with pytest.raises(BadUpstreamResponse, match="over 10 bytes"):
        await cache.read_file(key("wine"), locate, "MLmodel", limit=10)
    assert harness.server.downloads.total() == 0
    (folder / "MLmodel").write_text("damaged")
    assert await cache.read_file(key("wine"), locate, "MLmodel") == b"flavors: {}\nname: wine\n"


async def test_a_foreign_cache_folder_is_rejected(harness: CacheHarness, tmp_path: Path) -> None:
    """A symbolic link in place of the cache's folder could lead the files elsewhere."""
    harness.folder.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (harness.folder / "v1").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CacheUnusable, match="GATEWAY_CACHE_DIR, cannot be used: it belongs to another user"):
        await harness.open_cache()


async def test_a_removed_cache_folder_is_created_again(harness: CacheHarness) -> None:
    """If the system cleans up temporary files, the next lease downloads the model again."""
    harness.server.add_model("wine")
    harness.server.add_model("beer")
    cache = await harness.open_cache()
    await harness.fetch(cache, "wine")
    shutil.rmtree(harness.folder)
    assert (await harness.fetch(cache, "beer") / "MLmodel").exists()
    assert (await harness.fetch(cache, "wine") / "MLmodel").exists()
    for emptied in ("models", "partial", "locks"):
        shutil.rmtree(harness.folder / "v1" / emptied)
        assert (await harness.fetch(cache, "wine") / "MLmodel").exists()
    assert len(harness.models()) == 1


async def test_an_unusable_cache_folder_is_an_error(harness: CacheHarness) -> None:
    """The message has the setting's name and no path; errors in the lease's block are not translated."""
    harness.server.add_model("wine")
    cache = await harness.open_cache()
    with pytest.raises(FileNotFoundError):
        async with harness.lease(cache, "wine") as folder:
            (folder / "nothing").read_bytes()
    shutil.rmtree(harness.folder)
    harness.folder.write_bytes(b"")
    with pytest.raises(CacheUnusable, match="GATEWAY_CACHE_DIR") as caught:
        await harness.fetch(cache, "wine")
    assert str(harness.folder) not in str(caught.value)
    harness.folder.unlink()
    assert (await harness.fetch(cache, "wine") / "MLmodel").exists()
