"""Proves what happens to files that a model's code rewrote in the cache, together with the list of digests.

The attack is that of a model whose worker runs as the gateway's user and has no wall around it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from gateway.errors import ArtifactsNotFound
from tests.gateway.artifacts.conftest import key

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.artifacts.cache import ArtifactCache
    from tests.gateway.artifacts.conftest import CacheHarness

KEY = {"GATEWAY_CACHE_KEY": "k" * 32}
POISON = b"poisoned"


def poison(files: Path, name: str = "data/model.bin", **more: Any) -> None:
    """Rewrite a file of a cached model, and its size and digest in the manifest."""
    (files / name).write_bytes(POISON)
    path = files.parent / "manifest.json"
    content = json.loads(path.read_text()) | more
    for entry in content["files"]:
        if entry["path"] == name:
            entry |= {"size": len(POISON), "sha256": hashlib.sha256(POISON).hexdigest()}
    path.write_text(json.dumps(content))


async def served(harness: CacheHarness, cache: ArtifactCache, name: str = "wine") -> bytes:
    """Return the content of a file of the model that a lease gives."""
    return (await harness.fetch(cache, name) / "data" / "model.bin").read_bytes()


async def test_a_process_knows_the_list_that_it_made(
    harness: CacheHarness, caplog: pytest.LogCaptureFixture
) -> None:
    """The poisoned files are found at the next lease and downloaded again; so do files read one by one."""
    harness.server.add_model("wine")
    cache = await harness.open_cache()
    files = await harness.fetch(cache, "wine")
    whole = (files / "data" / "model.bin").read_bytes()
    poison(files, "MLmodel")
    assert await cache.read_file(key("wine"), harness.locate("wine"), "MLmodel") != POISON
    poison(files)
    assert await served(harness, cache) == whole
    assert "the list of files is another than before" in caplog.text
    assert harness.server.downloads["wine/data/model.bin"] == 2


async def test_a_process_knows_the_list_that_it_has_verified(harness: CacheHarness) -> None:
    """Also if an earlier process downloaded the files."""
    harness.server.add_model("wine")
    files = await harness.fetch(await harness.open_cache(), "wine")
    whole = (files / "data" / "model.bin").read_bytes()
    cache = await harness.open_cache()
    await harness.fetch(cache, "wine")
    poison(files)
    assert await served(harness, cache) == whole


async def test_two_processes_agree_after_a_store_has_changed(harness: CacheHarness) -> None:
    """One finds damage and downloads other files than before; the other takes them up with one download."""
    harness.server.add_model("wine")
    one, other = await harness.open_cache(), await harness.open_cache()
    for cache in (one, other):
        await harness.fetch(cache, "wine")
    harness.server.files["wine/data/model.bin"] = b"another"
    (await harness.fetch(one, "wine") / "MLmodel").write_text("damaged")
    for cache in (one, other, one, other):
        assert await served(harness, cache) == b"another"
    assert harness.server.downloads["wine/data/model.bin"] == 3


@pytest.mark.parametrize("variables", [{}, KEY], ids=["without a key", "with a key"])
async def test_after_a_restart_only_a_key_helps(
    harness: CacheHarness, variables: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """A new process trusts a list that lies beside its files, unless it must have a signature."""
    harness.variables = variables
    harness.server.add_model("wine")
    files = await harness.fetch(await harness.open_cache(), "wine")
    whole = (files / "data" / "model.bin").read_bytes()
    for signature in ("", "0" * 64, "é"):
        poison(files, **({"signature": signature} if variables else {}))
        found = await served(harness, await harness.open_cache())
        assert found == (whole if variables else POISON)
    assert ("not signed with GATEWAY_CACHE_KEY" in caplog.text) == bool(variables)


async def test_intact_signed_files_are_not_downloaded_again(harness: CacheHarness) -> None:
    """After a restart with the same key; with another key, or none, they are not found."""
    harness.server.add_model("wine")
    for variables, downloads in ((KEY, 1), (KEY, 1), ({}, 2), ({"GATEWAY_CACHE_KEY": "x" * 32}, 3), (KEY, 3)):
        harness.variables = variables
        cache = await harness.open_cache()
        await harness.fetch(cache, "wine")
        await harness.fetch(cache, "wine")
        assert harness.server.downloads["wine/data/model.bin"] == downloads


async def test_a_signed_list_is_of_one_model_alone(harness: CacheHarness) -> None:
    """The signed folder of a model that the attacker may register cannot stand in for another's."""
    harness.variables = KEY
    harness.server.add_model("wine")
    harness.server.add_model("thief")
    harness.server.files["thief/data/model.bin"] = POISON
    cache = await harness.open_cache()
    thief = await harness.fetch(cache, "thief")
    wine = await harness.fetch(cache, "wine")
    whole = (wine / "data" / "model.bin").read_bytes()
    shutil.rmtree(wine.parent)
    shutil.copytree(thief.parent, wine.parent)
    assert await served(harness, await harness.open_cache()) == whole


async def test_the_key_is_not_in_the_cache(harness: CacheHarness) -> None:
    """Neither in a file nor in a name."""
    harness.variables = KEY
    harness.server.add_model("wine")
    await harness.fetch(await harness.open_cache(), "wine")
    for path in harness.folder.rglob("*"):
        assert "k" * 32 not in str(path)
        assert not path.is_file() or b"k" * 32 not in path.read_bytes()


async def test_files_from_before_the_wall_are_not_used(harness: CacheHarness) -> None:
    """They may be poisoned already; nor does a gateway without the wall use, or change, the others."""
    harness.server.add_model("wine")
    files = await harness.fetch(await harness.open_cache(), "wine")
    poison(files)
    walled = await harness.open_cache(workers_cannot_write=True)
    assert await served(harness, walled) != POISON
    assert await served(harness, await harness.open_cache()) == POISON
    assert len(harness.models()) == 2


async def test_a_cache_that_only_gateways_write_is_verified_once(harness: CacheHarness) -> None:
    """A change of a file's content is not looked for; a restart finds it."""
    harness.server.add_model("wine")
    cache = await harness.open_cache(workers_cannot_write=True)
    model = await harness.fetch(cache, "wine") / "data" / "model.bin"
    whole = model.read_bytes()
    model.write_bytes(bytes(len(whole)))
    assert await served(harness, cache) == bytes(len(whole))
    assert harness.server.downloads["wine/data/model.bin"] == 1
    assert await served(harness, await harness.open_cache(workers_cannot_write=True)) == whole
    assert model.read_bytes() == whole
    assert harness.server.downloads["wine/data/model.bin"] == 2


@pytest.mark.parametrize("lost", ["data/model.bin", "data", "MLmodel", "../manifest.json", ".."])
async def test_lost_files_are_noticed_even_there(harness: CacheHarness, lost: str) -> None:
    """A cleaner of temporary files, or another gateway, may remove files at any time."""
    harness.server.add_model("wine")
    cache = await harness.open_cache(workers_cannot_write=True)
    files = await harness.fetch(cache, "wine")
    whole = (files / "data" / "model.bin").read_bytes()
    gone = (files / lost).resolve()
    if gone.is_dir():
        shutil.rmtree(gone)
    else:
        gone.unlink()
    assert await served(harness, cache) == whole


async def test_files_of_a_gateway_that_checks_less_are_not_used(harness: CacheHarness) -> None:
    """What was downloaded without GATEWAY_SOURCE_CHECK=own was never found to be the version's own."""
    harness.server.add_model("wine")
    await harness.fetch(await harness.open_cache(), "wine")
    harness.variables = {"GATEWAY_SOURCE_CHECK": "own"}
    cache = await harness.open_cache()

    async def locate() -> str:
        raise ArtifactsNotFound("located again")

    with pytest.raises(ArtifactsNotFound, match="located again"):
        async with cache.lease(key("wine"), locate):
            pass
