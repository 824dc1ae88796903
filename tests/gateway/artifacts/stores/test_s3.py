"""Proves that `s3://` locations are read from a real S3 server."""

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
    from tests.gateway.artifacts.conftest import CacheHarness
    from tests.support.s3_server import S3Server

MIB = 2**20
PART = 5 * MIB


@asynccontextmanager
async def opened(settings: S3Settings) -> AsyncIterator[FileByFileStore]:
    """Open a store with these settings."""
    store = S3FileStore(settings, max_attempts=1)
    try:
        yield FileByFileStore(store)
    finally:
        await store.close()


async def put(server: S3Server, folder: str, files: Mapping[str, bytes]) -> str:
    """Put `files` below `folder` and return its URI."""
    async with server.client() as client:
        for name, content in files.items():
            await client.put_object(Bucket=server.bucket, Key=f"{folder}/{name}", Body=content)
    return f"s3://{server.bucket}/{folder}"


async def put_in_parts(server: S3Server, path: str, *, parts: int) -> None:
    """Put an object in `parts` parts of 5 MiB; its ETag is not an MD5."""
    target = {"Bucket": server.bucket, "Key": path}
    async with server.client() as client:
        upload = (await client.create_multipart_upload(**target))["UploadId"]
        done = []
        for number in range(1, parts + 1):
            body = bytes([number]) * PART
            reply = await client.upload_part(**target, UploadId=upload, PartNumber=number, Body=body)
            done.append({"PartNumber": number, "ETag": reply["ETag"]})
        await client.complete_multipart_upload(**target, UploadId=upload, MultipartUpload={"Parts": done})


async def test_a_model_is_downloaded_through_the_cache(s3_server: S3Server, harness: CacheHarness) -> None:
    """With odd names, an empty file, a folder's marker object and an object of two parts."""
    files = {"MLmodel": b"flavors: {}\n", "odd/n\u00e4me + %41 (1)?#.txt": b"odd", "empty": b"", "odd/": b""}
    uri = await put(s3_server, "models/1 a/artifacts", files)
    await put_in_parts(s3_server, "models/1 a/artifacts/data/model.bin", parts=2)
    harness.variables = s3_server.environment
    cache = await harness.open_cache()

    async def locate() -> str:
        return uri

    async with cache.lease(key("wine"), locate) as folder:
        found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert found == {"MLmodel", "odd/n\u00e4me + %41 (1)?#.txt", "empty", "data/model.bin"}
        assert (folder / "odd" / "n\u00e4me + %41 (1)?#.txt").read_bytes() == b"odd"
        assert (folder / "data" / "model.bin").read_bytes() == b"\x01" * PART + b"\x02" * PART


async def test_a_folder_with_the_same_prefix_is_ignored(s3_server: S3Server, tmp_path: Path) -> None:
    """Objects of `…/m2` are not files of `…/m`. A small file is read alone."""
    uri = await put(s3_server, "near/m", {"MLmodel": b"one"})
    await put(s3_server, "near/m2", {"MLmodel": b"two"})
    async with opened(s3_server.settings()) as store:
        model = await store.find(uri)
        files = await model.fetch(tmp_path, DownloadProgress("m", total=model.size, limit=MIB))
        assert [(file.path, file.size) for file in files] == [("MLmodel", 3)]
        assert await store.read(uri, "MLmodel", limit=100) == b"one"
        assert await store.read(uri, "requirements.txt", limit=100) is None
        with pytest.raises(BadUpstreamResponse, match="over 2 bytes"):
            await store.read(uri, "MLmodel", limit=2)


async def test_more_files_than_a_page_holds_are_all_found(s3_server: S3Server) -> None:
    """S3 lists 1000 objects per page, here ten; all pages are read."""
    names = ["MLmodel", *(str(number) for number in range(25))]
    uri = await put(s3_server, "many", dict.fromkeys(names, b""))
    store = S3FileStore(s3_server.settings(), page_size=10)
    try:
        assert sorted(file.path for file in await store.list_files(uri)) == sorted(names)
    finally:
        await store.close()


async def test_a_missing_model_is_not_found(s3_server: S3Server) -> None:
    """The message says why: no such bucket, no such folder, or no model in it."""
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
        ({"AWS_ACCESS_KEY_ID": "no-such-key"}, "InvalidAccessKeyId"),
    ],
)
async def test_wrong_credentials_name_the_settings(
    s3_server: S3Server, change: dict[str, str], code: str
) -> None:
    """The message names the settings to check and contains no key."""
    async with opened(s3_server.settings(**change)) as store:
        with pytest.raises(BadUpstreamResponse, match=rf"{code}.*AWS_SECRET_ACCESS_KEY") as caught:
            await store.find(f"s3://{s3_server.bucket}/models")
    assert "testaccesskey" not in str(caught.value)
    assert "no-such-key" not in str(caught.value)


async def test_a_closed_port_is_unavailable(s3_server: S3Server) -> None:
    """If no server listens at the endpoint, the message names the setting."""
    settings = s3_server.settings(MLFLOW_S3_ENDPOINT_URL=f"http://127.0.0.1:{free_port()}")
    async with opened(settings) as store:
        with pytest.raises(UpstreamUnavailable, match="MLFLOW_S3_ENDPOINT_URL"):
            await store.find(f"s3://{s3_server.bucket}/models")


@pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/", "s3:///folder", "s3://not a bucket/folder"])
async def test_a_location_that_is_not_a_folder_is_rejected(s3_server: S3Server, uri: str) -> None:
    """A whole bucket, no bucket, and an invalid bucket name."""
    async with opened(s3_server.settings()) as store:
        with pytest.raises(ArtifactLocationForbidden, match="s3://bucket/folder"):
            await store.find(uri)
