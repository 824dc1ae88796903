"""Proves which `file:` locations and absolute paths are read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

import pytest

from gateway.artifacts.progress import DownloadProgress
from gateway.artifacts.stores.by_file import FileByFileStore
from gateway.artifacts.stores.local import LocalFileStore
from gateway.errors import ArtifactLocationForbidden, ArtifactsNotFound, BadUpstreamResponse

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The allowed folder with a model in it; the folders beside it contain a secret."""
    folder = tmp_path / "root" / "my model"
    (folder / "data").mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {}\n")
    (folder / "data" / "model.bin").write_bytes(b"0123456789" * 300_000)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "MLmodel").write_text("secret")
    (tmp_path / "root-too").mkdir()
    (tmp_path / "root-too" / "MLmodel").write_text("secret")
    return tmp_path / "root"


@pytest.fixture
def store(root: Path) -> FileByFileStore:
    """A store with that one root."""
    return FileByFileStore(LocalFileStore([str(root)]))


@pytest.mark.parametrize("form", ["file://{}", "file:{}", "file://localhost{}", "{}"])
async def test_every_form_of_a_path_is_read(
    store: FileByFileStore, root: Path, *, form: str, tmp_path: Path
) -> None:
    """A URI is percent-decoded, a plain path is not."""
    path = f"{root}/my%20model" if "file" in form else f"{root}/my model"
    model = await store.find(form.format(path))
    target = tmp_path / "target"
    target.mkdir()
    files = await model.fetch(target, DownloadProgress("m", total=model.size, limit=10**7))
    assert [(file.path, file.size) for file in files] == [("MLmodel", 12), ("data/model.bin", 3_000_000)]
    assert (target / "data" / "model.bin").read_bytes() == b"0123456789" * 300_000


async def test_a_small_file_is_read_alone(store: FileByFileStore, root: Path) -> None:
    """The result is None if it does not exist; a file over the limit is an error."""
    uri = f"{root}/my model"
    assert await store.read(uri, "MLmodel", limit=100) == b"flavors: {}\n"
    assert await store.read(uri, "absent", limit=100) is None
    with pytest.raises(BadUpstreamResponse, match="over 100 bytes"):
        await store.read(uri, "data/model.bin", limit=100)


OUTSIDE = (
    "{top}/outside",
    "file://{top}/outside",
    "{root}/../outside",
    "file:{root}/%2e%2e/outside",
    "{top}/root-too",
    "{top}/not-there",
    "file:relative",
    "file://elsewhere{root}/my%20model",
    "file:{root}/a%00b",
    "/",
)


@pytest.mark.parametrize("location", OUTSIDE)
async def test_nothing_outside_the_roots_is_read(store: FileByFileStore, root: Path, location: str) -> None:
    """The message neither reveals whether it exists nor contains a path."""
    uri = location.format(top=root.parent, root=root)
    with pytest.raises(ArtifactLocationForbidden) as caught:
        await store.find(uri)
    assert str(root.parent) not in str(caught.value)


@pytest.mark.parametrize("link", ["my model/stolen", "my model/data/deep", "whole"])
async def test_links_to_the_outside_are_rejected(store: FileByFileStore, root: Path, link: str) -> None:
    """A link to a file, a link to a folder, and a model's folder that is itself a link."""
    target = root.parent / "outside"
    (root / link).symlink_to(target / "MLmodel" if link.endswith("stolen") else target)
    with pytest.raises(ArtifactLocationForbidden, match="GATEWAY_ARTIFACT_ROOTS"):
        await store.find(f"{root}/{link.partition('/')[0]}")
    if link.endswith("stolen"):
        with pytest.raises(ArtifactLocationForbidden):
            await store.read(f"{root}/my model", "stolen", limit=100)


async def test_links_within_the_roots_are_followed(store: FileByFileStore, root: Path) -> None:
    """If their target is below the root."""
    (root / "my model" / "again").symlink_to(root / "my model" / "MLmodel")
    assert await store.read(f"{root}/my model", "again", limit=100) == b"flavors: {}\n"
    model = await store.find(f"{root}/my model")
    assert {file.path for file in model.files} == {"MLmodel", "again", "data/model.bin"}


async def test_a_loop_of_links_is_rejected(store: FileByFileStore, root: Path) -> None:
    """A folder with a link to a folder above it would never end."""
    (root / "my model" / "loop").symlink_to(root / "my model")
    with pytest.raises(BadUpstreamResponse, match="too deep"):
        await store.find(f"{root}/my model")


async def test_a_named_pipe_is_rejected(store: FileByFileStore, root: Path) -> None:
    """Opening it would block for ever."""
    os.mkfifo(root / "my model" / "pipe")
    with pytest.raises(ArtifactLocationForbidden, match="other than files"):
        await store.find(f"{root}/my model")
    with pytest.raises(ArtifactLocationForbidden, match="other than files"):
        await store.read(f"{root}/my model", "pipe", limit=100)


async def test_a_missing_model_is_not_found(store: FileByFileStore, root: Path) -> None:
    """The message says why: no such folder, a file instead of a folder, or no model in it."""
    with pytest.raises(ArtifactsNotFound, match="no files"):
        await store.find(f"{root}/absent")
    with pytest.raises(ArtifactsNotFound, match="not a model's folder"):
        await store.find(f"{root}/my model/MLmodel")
    with pytest.raises(ArtifactsNotFound, match="no MLmodel"):
        await store.find(f"{root}/my model/data")


@pytest.mark.parametrize("place", ["folder", "file", "model", "above"])
async def test_links_are_not_followed_to_other_models(
    root: Path, tmp_path: Path, place: Literal["folder", "file", "model", "above"]
) -> None:
    """Who writes into a shared folder can link to files that the gateway may read and he may not."""
    victim, own = root / "my model", root / "own" / "artifacts" / "model"
    own.parent.mkdir(parents=True)
    uri = own
    if place == "model":
        own.symlink_to(victim)
    elif place == "above":
        (root / "linked").symlink_to(root)
        uri = root / "linked" / "my model"
    else:
        own.mkdir()
        (own / "MLmodel").write_text("flavors: {}")
        (own / "data").symlink_to(victim / ("data" if place == "folder" else "MLmodel"))
    following, strict = [LocalFileStore([str(root)], follow_links=follow) for follow in (True, False)]
    assert await following.list_files(str(uri))
    with pytest.raises(ArtifactLocationForbidden, match="symbolic link"):
        await strict.list_files(str(uri))
    with pytest.raises(ArtifactLocationForbidden, match="symbolic link"):
        async with strict.open(str(uri), "data" if place == "file" else "data/model.bin"):
            pass


async def test_a_root_may_be_a_link_itself(root: Path, tmp_path: Path) -> None:
    """The operator has chosen it; locations may name the link or its target."""
    link = tmp_path / "link"
    link.symlink_to(root)
    store = LocalFileStore([str(link)], follow_links=False)
    for top in (link, root):
        assert len(await store.list_files(f"{top}/my model")) == 2
