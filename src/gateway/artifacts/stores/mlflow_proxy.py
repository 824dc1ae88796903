"""Reads `mlflow-artifacts:` locations: files that the tracking server itself serves."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from gateway.artifacts.stores.base import (
    MAX_FILES,
    ArtifactFileNotFound,
    IncomingFile,
    RemoteFile,
    safe_path,
    too_many_files_error,
)
from gateway.errors import ArtifactLocationForbidden, BadUpstreamResponse, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.mlflow_client import MlflowClient


class MlflowProxyFileStore:
    """A store of the tracking server's artifacts, read with the MLflow client and its credentials."""

    def __init__(self, client: MlflowClient, tracking_uri: str) -> None:
        self._client = client
        self._tracking_url = urlsplit(tracking_uri)

    async def list_files(self, uri: str) -> list[RemoteFile]:
        """Return every file below `uri`; an empty list if there is none."""
        top = self._parse_path(uri)
        found: list[RemoteFile] = []
        folders = [""]
        seen = 0
        while folders:
            folder = folders.pop()
            for entry in await self._client.list_artifacts(_join(top, folder)):
                seen += 1
                path = safe_path(_join(folder, safe_path(entry.path)))
                if seen > MAX_FILES:
                    raise too_many_files_error()
                if entry.is_dir:
                    folders.append(path)
                else:
                    found.append(RemoteFile(path, entry.size))
        return found

    @asynccontextmanager
    async def open(self, uri: str, path: str) -> AsyncIterator[IncomingFile]:
        """Open the file `path` below `uri`; raise ArtifactFileNotFound if there is none."""
        try:
            async with self._client.stream_artifact(_join(self._parse_path(uri), safe_path(path))) as stream:
                yield IncomingFile(stream.size, None, aiter(stream))
        except NotFound as error:
            raise ArtifactFileNotFound(
                f"The file {path} of this version is not in the MLflow server's store."
            ) from error

    def _parse_path(self, uri: str) -> str:
        """Return the path below the server's artifact root.

        Decode it once, because the client encodes it and the server decodes it again. Raise
        ArtifactLocationForbidden if it is on another server or leads out of the root.
        """
        parts = urlsplit(uri)
        if not self._is_tracking_server(parts.netloc):
            raise ArtifactLocationForbidden(
                "This version's files are on another server than the tracking server, whose credentials are "
                "sent to no other: use a location without a host, mlflow-artifacts:/…."
            )
        path = unquote(parts.path).strip("/")
        try:
            return safe_path(path) if path else ""
        except BadUpstreamResponse as error:
            raise ArtifactLocationForbidden(
                "This version's location leads out of the MLflow server's store."
            ) from error

    def _is_tracking_server(self, netloc: str) -> bool:
        if not netloc:
            return True
        other = urlsplit(f"//{netloc}")
        try:
            ports = {
                other.port,
                self._tracking_url.port or (443 if self._tracking_url.scheme == "https" else 80),
            }
        except ValueError:
            return False
        # A location without a port is accepted: the files come from the tracking server either way.
        return (
            "@" not in netloc and other.hostname == self._tracking_url.hostname and len(ports - {None}) == 1
        )


def _join(folder: str, path: str) -> str:
    return f"{folder}/{path}" if folder and path else folder or path
