"""`s3://` locations at a real S3 server."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.artifacts.progress import DownloadProgress
from gateway.artifacts.stores.by_file import FileByFileStore
from gateway.artifacts.stores.s3 import S3FileStore
from gateway.errors import (
    ArtifactLocationForbidden,
    ArtifactsNotFound,
    BadUpstreamResponse,
    UpstreamUnavailable,
)
from tests.gateway.artifacts.conftest import key
from tests.support.mlflow_server import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from gateway.settings import S3Settings
    from tests.gateway.artifacts.conftest import House
    from tests.support.s3_server import S3Server

MIB = 2**20
PART = 5 * MIB


@asynccontextmanager
async def opened(settings: S3Settings) -> AsyncIterator[FileByFileStore]:
    """A store for these settings."""
    store = S3FileStore(settings, max_attempts=1)
    try:
        yield FileByFileStore(store)
    finally:
        await store.close()


async def put(server: S3Server, folder: str, files: Mapping[str, bytes]) -> str:
    """Put `files` below `folder`; returns their URI."""
    async with server.client() as client:
        for name, content in files.items():
            await client.put_object(Bucket=server.bucket, Key=f"{folder}/{name}", Body=content)
    return f"s3://{server.bucket}/{folder}"


async def put_in_parts(server: S3Server, path: str, *, parts: int) -> None:
    """Put an object of so many parts of 5 MiB, whose ETag then is no MD5."""
    place = {"Bucket": server.bucket, "Key": path}
    async with server.client() as client:
        upload = (await client.create_multipart_upload(**place))["UploadId"]
        done = []
        for number in range(1, parts + 1):
            body = bytes([number]) * PART
            reply = await client.upload_part(**place, UploadId=upload, PartNumber=number, Body=body)
            done.append({"PartNumber": number, "ETag": reply["ETag"]})
        await client.complete_multipart_upload(**place, UploadId=upload, MultipartUpload={"Parts": done})


async def test_a_model_arrives_as_it_is(s3_server: S3Server, house: House) -> None:
    """Through the cache: odd names, an empty file, a folder's marker and an object of two parts."""
    files = {"MLmodel": b"flavors: {}\n", "odd/n\u00e4me + %41 (1)?#.txt": b"odd", "empty": b"", "odd/": b""}
    uri = await put(s3_server, "models/1 a/artifacts", files)
    await put_in_parts(s3_server, "models/1 a/artifacts/data/model.bin", parts=2)
    house.extra = s3_server.environment
    cache = await house.cache()

    async def locate() -> str:
        return uri

    async with cache.lease(key("wine"), locate) as folder:
        found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert found == {"MLmodel", "odd/n\u00e4me + %41 (1)?#.txt", "empty", "data/model.bin"}
        assert (folder / "odd" / "n\u00e4me + %41 (1)?#.txt").read_bytes() == b"odd"
        assert (folder / "data" / "model.bin").read_bytes() == b"\x01" * PART + b"\x02" * PART


async def test_a_neighbour_with_the_same_beginning_stays_out(s3_server: S3Server, tmp_path: Path) -> None:
    """`…/m` is a folder: objects of `…/m2` are none of its files. A small file is read alone."""
    uri = await put(s3_server, "near/m", {"MLmodel": b"one"})
    await put(s3_server, "near/m2", {"MLmodel": b"two"})
    async with opened(s3_server.settings()) as store:
        tree = await store.find(uri)
        files = await tree.fetch(tmp_path, DownloadProgress("m", total=tree.size, limit=MIB))
        assert [(file.path, file.size) for file in files] == [("MLmodel", 3)]
        assert await store.read(uri, "MLmodel", limit=100) == b"one"
        assert await store.read(uri, "requirements.txt", limit=100) is None
        with pytest.raises(BadUpstreamResponse, match="over 2 bytes"):
            await store.read(uri, "MLmodel", limit=2)


async def test_more_files_than_a_page_holds_are_all_found(s3_server: S3Server) -> None:
    """S3 lists 1000 objects at a time, here ten: each of the pages counts."""
    names = ["MLmodel", *(str(number) for number in range(25))]
    uri = await put(s3_server, "many", dict.fromkeys(names, b""))
    store = S3FileStore(s3_server.settings(), page_size=10)
    try:
        assert sorted(file.path for file in await store.list_files(uri)) == sorted(names)
    finally:
        await store.close()


async def test_what_is_not_there_is_gone(s3_server: S3Server) -> None:
    """No such bucket, no such folder, and a folder without a model: each in words."""
    no_model = await put(s3_server, "nothing/much", {"readme.txt": b"x"})
    async with opened(s3_server.settings()) as store:
        with pytest.raises(ArtifactsNotFound, match="bucket"):
            await store.find("s3://no-such-bucket-here/models/1")
        with pytest.raises(ArtifactsNotFound, match="bucket"):
            await store.read("s3://no-such-bucket-here/models/1", "MLmodel", limit=10)
        with pytest.raises(ArtifactsNotFound, match="no files"):
            await store.find(f"s3://{s3_server.bucket}/nowhere")
        with pytest.raises(ArtifactsNotFound, match="no MLmodel"):
            await store.find(no_model)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "InvalidAccessKeyId"),
    ],
)
async def test_wrong_credentials_name_the_settings(
    s3_server: S3Server, change: dict[str, str], code: str
) -> None:
    """The message says which settings to look at, and holds no key."""
    async with opened(s3_server.settings(**change)) as store:
        with pytest.raises(BadUpstreamResponse, match=rf"{code}.*AWS_SECRET_ACCESS_KEY") as caught:
            await store.find(f"s3://{s3_server.bucket}/models")
    assert "testaccesskey" not in str(caught.value)
    assert "nobody" not in str(caught.value)


async def test_a_server_that_is_not_there_is_away(s3_server: S3Server) -> None:
    """Nobody listens at the endpoint: the message names the setting."""
    settings = s3_server.settings(MLFLOW_S3_ENDPOINT_URL=f"http://127.0.0.1:{free_port()}")
    async with opened(settings) as store:
        with pytest.raises(UpstreamUnavailable, match="MLFLOW_S3_ENDPOINT_URL"):
            await store.find(f"s3://{s3_server.bucket}/models")


@pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/", "s3:///folder", "s3://not a bucket/folder"])
async def test_a_location_that_is_no_folder_is_refused(s3_server: S3Server, uri: str) -> None:
    """A whole bucket, no bucket, and what can be no bucket's name."""
    async with opened(s3_server.settings()) as store:
        with pytest.raises(ArtifactLocationForbidden, match="s3://bucket/folder"):
            await store.find(uri)
