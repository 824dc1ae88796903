"""The cache's promises: complete or absent, fetched once, checked before use."""

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

    from tests.gateway.artifacts.conftest import House

ASKERS = 64


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` by its relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


async def test_a_model_arrives_as_it_is_in_its_store(house: House) -> None:
    """Every file with its bytes at its relative path, an empty one included; nothing is left beside them."""
    uri = house.shelf.model("wine", size=3_000_001)
    house.shelf.files["wine/empty"] = b""
    house.shelf.files["wine/näme with + (1)%41.txt"] = b"odd"
    cache = await house.cache()
    assert uri == await house.locate("wine")()
    async with house.lease(cache, "wine") as folder:
        found = contents(folder)
    pattern = bytes(range(256)) * 1024
    big = b"".join(pattern[: min(len(pattern), 3_000_001 - at)] for at in range(0, 3_000_001, len(pattern)))
    assert found == {
        "MLmodel": b"flavors: {}\nname: wine\n",
        "data/model.bin": big,
        "empty": b"",
        "näme with + (1)%41.txt": b"odd",
    }
    assert house.leftovers() == []


async def test_only_this_user_may_look_into_the_cache(house: House) -> None:
    """Every folder is 0700 and every file 0600, and no folder is named after the model."""
    house.shelf.model("wine")
    house.shelf.files["wine/data/more/of/it.txt"] = b""
    cache = await house.cache()
    await house.fetch(cache, "wine")
    for path in [house.folder, *house.folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
        assert "wine" not in path.name


async def test_a_model_is_located_and_fetched_once(house: House) -> None:
    """A second lease asks neither MLflow where the files are nor the store for them."""
    house.shelf.model("wine")
    cache = await house.cache()
    first = await house.fetch(cache, "wine")

    async def refuse() -> str:
        raise AssertionError("located again")

    async with cache.lease(key("wine"), refuse) as second:
        assert second == first
    assert set(house.shelf.fetched.values()) == {1}


async def test_64_askers_share_one_download(house: House) -> None:
    """Everybody who asks meanwhile waits for the one download, and gets it whole."""
    house.shelf.model("wine", size=2_000_000)
    gate = house.shelf.gate("wine/data/model.bin")
    cache = await house.cache()
    askers = [asyncio.create_task(house.fetch(cache, "wine")) for _ in range(ASKERS)]
    await gate.reached.wait()
    gate.open.set()
    folders = await asyncio.gather(*askers)
    assert len(set(folders)) == 1
    assert (folders[0] / "data" / "model.bin").stat().st_size == 2_000_000
    assert house.shelf.fetched["wine/data/model.bin"] == 1


async def test_a_cancelled_asker_leaves_the_download_to_the_others(house: House) -> None:
    """The one who began it may go: the one who waits still gets the model, from the same download."""
    house.shelf.model("wine")
    gate = house.shelf.gate("wine/data/model.bin")
    cache = await house.cache()
    first = asyncio.create_task(house.fetch(cache, "wine"))
    await gate.reached.wait()
    second = asyncio.create_task(house.fetch(cache, "wine"))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    gate.open.set()
    assert (await second / "MLmodel").is_file()
    assert house.shelf.fetched["wine/data/model.bin"] == 1


async def test_closing_ends_a_download_and_leaves_nothing(house: House) -> None:
    """An asker is told so by an error of its own, and neither a model nor half of one stays behind."""
    house.shelf.model("wine", size=4_000_000)
    gate = house.shelf.gate("wine/data/model.bin")
    cache = await house.cache()
    asker = asyncio.create_task(house.fetch(cache, "wine"))
    await gate.reached.wait()
    assert house.leftovers() != []
    await cache.close()
    with pytest.raises(SingleFlightClosed):
        await asker
    assert house.leftovers() == []
    assert house.models() == []


async def test_a_download_that_breaks_off_leaves_nothing_and_can_be_repeated(house: House) -> None:
    """A truncated body is an error of the store's, the model is absent, and the next try succeeds."""
    house.shelf.model("wine", size=3_000_000)
    house.shelf.cut["wine/data/model.bin"] = 1_500_000
    cache = await house.cache()
    with pytest.raises((BadUpstreamResponse, UpstreamUnavailable)):
        await house.fetch(cache, "wine")
    assert house.leftovers() == []
    assert house.models() == []
    house.shelf.cut.clear()
    folder = await house.fetch(cache, "wine")
    assert (folder / "data" / "model.bin").stat().st_size == 3_000_000


@pytest.mark.parametrize("difference", [-1, 1])
async def test_another_size_than_listed_is_refused(house: House, difference: int) -> None:
    """A file that is shorter or longer than the store's list says is not taken."""
    house.shelf.model("wine", size=1000)
    house.shelf.listed_sizes["wine/data/model.bin"] = 1000 + difference
    cache = await house.cache()
    with pytest.raises(BadUpstreamResponse, match=r"data/model\.bin"):
        await house.fetch(cache, "wine")
    assert house.leftovers() == []
    assert house.models() == []


async def test_a_size_that_is_not_listed_is_no_hindrance(house: House) -> None:
    """Some stores do not tell sizes: the model arrives all the same."""
    house.shelf.model("wine", size=1000)
    house.shelf.listed_sizes["wine/data/model.bin"] = None
    folder = await house.fetch(await house.cache(), "wine")
    assert (folder / "data" / "model.bin").stat().st_size == 1000


async def test_what_is_no_model_is_gone(house: House) -> None:
    """An empty place, and one without an MLmodel file, are refused in words before any file is fetched."""
    house.shelf.files["other/readme.txt"] = b"no model"
    cache = await house.cache()
    with pytest.raises(ArtifactsNotFound, match="no files"):
        await house.fetch(cache, "nowhere")
    with pytest.raises(ArtifactsNotFound, match="no MLmodel file"):
        await house.fetch(cache, "other")
    assert house.shelf.fetched.total() == 0


async def test_damage_is_found_at_the_next_start_and_mended(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """A changed byte, a missing file or a lost manifest: the model is fetched again, and the log says why."""
    house.shelf.model("wine")
    folder = await house.fetch(await house.cache(), "wine")
    model = folder / "data" / "model.bin"
    whole = model.read_bytes()
    for damage in (
        lambda: model.write_bytes(whole[:-1] + b"?"),
        model.unlink,
        (folder.parent / "manifest.json").unlink,
    ):
        damage()
        caplog.clear()
        assert await house.fetch(await house.cache(), "wine") == folder
        assert model.read_bytes() == whole
        assert "damaged" in caplog.text
    assert house.shelf.fetched["wine/data/model.bin"] == 4
    assert house.leftovers() == []


async def test_damage_is_found_at_the_next_lease_too(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """In the same process: one bit, the time of the change set back; and what was only put beside it."""
    house.shelf.model("wine")
    cache = await house.cache()
    model = await house.fetch(cache, "wine") / "data" / "model.bin"
    before, whole = model.stat(), model.read_bytes()
    model.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns))
    await house.fetch(cache, "wine")
    assert model.read_bytes() == whole
    assert "another digest" in caplog.text
    caplog.clear()
    stranger = model.with_name("stranger.py")
    stranger.write_text("raise SystemExit")
    for _ in range(2):
        await house.fetch(cache, "wine")
    assert not stranger.exists()
    assert [record.getMessage() for record in caplog.records] == [
        "the cached files of wine/1 had 1 beside them that were removed"
    ]
    assert house.shelf.fetched["wine/data/model.bin"] == 2


async def test_intact_files_are_not_fetched_again_after_a_start(house: House) -> None:
    """A new process verifies what is there, and uses it."""
    house.shelf.model("wine")
    await house.fetch(await house.cache(), "wine")
    await house.fetch(await house.cache(), "wine")
    assert house.shelf.fetched["wine/data/model.bin"] == 1


async def test_the_log_tells_of_start_and_end(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """One line when a download begins and one when it is complete, with size and speed, and no path."""
    house.shelf.model("wine", size=2_000_000)
    with caplog.at_level(logging.INFO, logger="gateway.artifacts"):
        await house.fetch(await house.cache(), "wine")
    first, last = [record.getMessage() for record in caplog.records if "fetching" in record.getMessage()]
    assert "wine/1" in first
    assert "2.0 MB" in first
    assert "mlflow-artifacts" in first
    assert "complete" in last
    assert "MB/s" in last
    assert str(house.folder) not in caplog.text


async def test_one_small_file_is_read_without_the_rest(house: House) -> None:
    """From the store while the model is not here, None where it is not there, and refused over the limit."""
    house.shelf.model("wine")
    cache = await house.cache()
    locate = house.locate("wine")
    assert await cache.read_file(key("wine"), locate, "MLmodel") == b"flavors: {}\nname: wine\n"
    assert await cache.read_file(key("wine"), locate, "input_example.json") is None
    with pytest.raises(BadUpstreamResponse, match="over 999 bytes"):
        await cache.read_file(key("wine"), locate, "data/model.bin", limit=999)
    assert "wine/data/model.bin" in house.shelf.fetched
    assert house.models() == []


async def test_a_cached_file_is_read_from_the_cache(house: House) -> None:
    """With the model here, neither MLflow nor the store is asked, and damage is not handed out."""
    house.shelf.model("wine")
    cache = await house.cache()
    folder = await house.fetch(cache, "wine")
    house.shelf.fetched.clear()
    locate = house.locate("wine")
    assert await cache.read_file(key("wine"), locate, "MLmodel") == b"flavors: {}\nname: wine\n"
    assert await cache.read_file(key("wine"), locate, "absent.txt") is None
    with pytest.raises(BadUpstreamResponse, match="over 10 bytes"):
        await cache.read_file(key("wine"), locate, "MLmodel", limit=10)
    assert house.shelf.fetched.total() == 0
    (folder / "MLmodel").write_text("damaged")
    assert await cache.read_file(key("wine"), locate, "MLmodel") == b"flavors: {}\nname: wine\n"


async def test_a_cache_folder_of_somebody_else_is_refused(house: House, tmp_path: Path) -> None:
    """A link planted where the cache's folder is to be made would lead the files elsewhere."""
    house.folder.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (house.folder / "v1").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CacheUnusable, match="GATEWAY_CACHE_DIR, cannot be used: it belongs to somebody else"):
        await house.cache()


async def test_a_cache_folder_that_vanishes_is_made_again(house: House) -> None:
    """Something cleans up temporary files: the next model is fetched as if nothing had been."""
    house.shelf.model("wine")
    house.shelf.model("beer")
    cache = await house.cache()
    await house.fetch(cache, "wine")
    shutil.rmtree(house.folder)
    assert (await house.fetch(cache, "beer") / "MLmodel").exists()
    assert (await house.fetch(cache, "wine") / "MLmodel").exists()
    for emptied in ("models", "partial", "locks"):
        shutil.rmtree(house.folder / "v1" / emptied)
        assert (await house.fetch(cache, "wine") / "MLmodel").exists()
    assert len(house.models()) == 1


async def test_a_cache_folder_that_cannot_be_used(house: House) -> None:
    """Said so by the setting's name and without the path; what a lease's holder does wrong is his own."""
    house.shelf.model("wine")
    cache = await house.cache()
    with pytest.raises(FileNotFoundError):
        async with house.lease(cache, "wine") as folder:
            (folder / "nothing").read_bytes()
    shutil.rmtree(house.folder)
    house.folder.write_bytes(b"")
    with pytest.raises(CacheUnusable, match="GATEWAY_CACHE_DIR") as caught:
        await house.fetch(cache, "wine")
    assert str(house.folder) not in str(caught.value)
    house.folder.unlink()
    assert (await house.fetch(cache, "wine") / "MLmodel").exists()
