"""Reads `s3://` locations, at AWS or at any server with its protocol."""

from __future__ import annotations

import asyncio
import os
import re
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.loaders import Loader

from gateway.artifacts.stores.base import (
    CHUNK_BYTES,
    MAX_FILES,
    IncomingFile,
    RemoteFile,
    safe_path,
    too_many_files_error,
)
from gateway.artifacts.stores.s3_errors import translate_errors
from gateway.errors import ArtifactLocationForbidden
from gateway.system.memory_files import MemoryFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aiobotocore.session import AioSession
    from pydantic import SecretStr

    from gateway.settings import S3Settings

_CONNECT_SECONDS = 5
_PLAIN_MD5 = re.compile(r'"?([0-9a-f]{32})"?')


class S3FileStore:
    """A store of files below `s3://bucket/folder`, with one client that is opened at its first use."""

    def __init__(
        self,
        settings: S3Settings,
        *,
        read_timeout: float = 20,
        max_attempts: int = 3,
        page_size: int = 1000,
    ) -> None:
        """Wait at most `read_timeout` seconds for each response, over all attempts of a call together."""
        self._settings = settings
        self._read_timeout = read_timeout
        self._max_attempts = max_attempts
        self._pagination = {"PageSize": page_size}
        self._owner_params = {"ExpectedBucketOwner": settings.bucket_owner} if settings.bucket_owner else {}
        self._open_lock = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._opened_client: Any = None
        self._files: dict[str, MemoryFile] = {}

    async def close(self) -> None:
        """Close the client if it is open."""
        self._opened_client = None
        await self._stack.aclose()
        while self._files:
            self._files.popitem()[1].close()

    async def list_files(self, uri: str) -> list[RemoteFile]:
        """Return every file below `uri`; an empty list if there is none."""
        bucket, prefix = _parse_location(uri)
        client = await self._get_client()
        found: list[RemoteFile] = []
        paginator = client.get_paginator("list_objects_v2")
        pages = aiter(paginator.paginate(Bucket=bucket, Prefix=prefix, **self._owner_params))
        while True:
            with translate_errors():
                async with asyncio.timeout(self._read_timeout):
                    page = await anext(pages, None)
            if page is None:
                return found
            found += _parse_page(page, prefix)
            if len(found) > MAX_FILES:
                raise too_many_files_error()

    @asynccontextmanager
    async def open(self, uri: str, path: str) -> AsyncIterator[IncomingFile]:
        """Open the file `path` below `uri`; raise ArtifactFileNotFound if there is none."""
        bucket, prefix = _parse_location(uri)
        client = await self._get_client()
        with translate_errors():
            async with asyncio.timeout(self._read_timeout):
                reply = await client.get_object(
                    Bucket=bucket, Key=prefix + safe_path(path), **self._owner_params
                )
        body = reply["Body"]
        try:
            yield IncomingFile(reply.get("ContentLength"), _md5(bucket, reply), _Chunks(body))
        finally:
            body.close()

    async def _get_client(self) -> Any:
        # Any: botocore creates its clients' classes at run time.
        # Opened on demand, because the search for credentials may wait for an absent metadata service.
        async with self._open_lock:
            if self._opened_client is None:
                with translate_errors():
                    self._opened_client = await self._stack.enter_async_context(self._create_client())
        return self._opened_client

    def _create_client(self) -> Any:
        settings = self._settings
        verify: bool | str | None = str(settings.ca_bundle) if settings.ca_bundle else None
        return self._create_session().create_client(
            "s3",
            region_name=settings.region or None,
            endpoint_url=settings.endpoint_url or None,
            verify=False if settings.ignore_tls else verify,
            aws_access_key_id=settings.access_key_id.get_secret_value() or None,
            aws_secret_access_key=settings.secret_access_key.get_secret_value() or None,
            aws_session_token=settings.session_token.get_secret_value() or None,
            config=AioConfig(
                warm_up_loader_caches=True,
                connect_timeout=_CONNECT_SECONDS,
                read_timeout=self._read_timeout,
                max_pool_connections=32,
                retries={"total_max_attempts": self._max_attempts, "mode": "standard"},
                s3={"addressing_style": settings.addressing_style},
            ),
        )

    def _create_session(self) -> AioSession:
        """Return a session that reads no file of the home folder, where a model may have put one by now.

        AWS' files have the content that they had when the gateway started. Descriptions of services from
        `~/.aws/models`, which may name another server, and credentials from `~/.boto` are not read at all.
        """
        session = get_session()
        session.set_config_variable("config_file", self._path_of(self._settings.config_text))
        session.set_config_variable("credentials_file", self._path_of(self._settings.credentials_text))
        if self._settings.profile:
            session.set_config_variable("profile", self._settings.profile)
        chosen: str = session.get_config_variable("data_path") or ""
        paths = [*filter(None, chosen.split(os.pathsep)), Loader.BUILTIN_DATA_PATH]
        session.register_component("data_loader", Loader(paths, include_default_search_paths=False))
        session.get_component("credential_provider").remove("boto-config")
        return session

    def _path_of(self, text: SecretStr) -> str:
        """Return the path of a file with this content; the same for each attempt to open the client."""
        if not (content := text.get_secret_value()):
            return os.devnull  # AWS' client ignores it, because it is not a regular file
        if content not in self._files:
            self._files[content] = MemoryFile(content.encode())
        return self._files[content].path


class _Chunks:
    """An iterator over an object's bytes that raises the gateway's errors."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def __aiter__(self) -> _Chunks:
        return self

    async def __anext__(self) -> bytes:
        with translate_errors():
            chunk: bytes = await self._body.read(CHUNK_BYTES)
        if not chunk:
            raise StopAsyncIteration
        return chunk


def _parse_location(uri: str) -> tuple[str, str]:
    """Return the bucket and key prefix of `uri`, in which keys are not percent-encoded."""
    bucket, _, folder = uri.partition("://")[2].partition("/")
    folder = folder.strip("/")
    if not bucket or not folder:
        raise ArtifactLocationForbidden(
            "This version's location is a whole S3 bucket; it must have the form s3://bucket/folder."
        )
    return bucket, folder + "/"


def _parse_page(page: Mapping[str, Any], prefix: str) -> list[RemoteFile]:
    # Some tools create an empty object per folder, with a slash at the end of its name.
    return [
        RemoteFile(entry["Key"].removeprefix(prefix), entry["Size"])
        for entry in page.get("Contents", ())
        if not entry["Key"].endswith("/")
    ]


def _md5(bucket: str, reply: Mapping[str, Any]) -> str | None:
    """Return the object's MD5 if its ETag is one: not for multipart uploads, customer keys or S3 Express."""
    encryption = reply.get("ServerSideEncryption")
    if encryption not in {None, "AES256"} or reply.get("SSECustomerAlgorithm") or bucket.endswith("--x-s3"):
        return None
    match = _PLAIN_MD5.fullmatch(reply.get("ETag", ""))
    return match[1] if match else None
