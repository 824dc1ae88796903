"""`mlflow-artifacts:` locations: files that the tracking server itself hands out."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from gateway.artifacts.stores.base import MAX_FILES, FileGone, Incoming, Listed, checked, too_many
from gateway.errors import ArtifactsRefused, NotFound, UpstreamWrong

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.mlflow_client import MlflowClient


class MlflowProxy:
    """The tracking server's artifacts, through the client that holds its credentials."""

    def __init__(self, client: MlflowClient, tracking_uri: str) -> None:
        self._client = client
        self._server = urlsplit(tracking_uri)

    async def files(self, uri: str) -> list[Listed]:
        """Every file below `uri`, none where nothing is there."""
        top = self._path(uri)
        found: list[Listed] = []
        folders = [""]
        seen = 0
        while folders:
            folder = folders.pop()
            for entry in await self._client.list_artifacts(_below(top, folder)):
                seen += 1
                path = checked(_below(folder, checked(entry.path)))
                if seen > MAX_FILES:
                    raise too_many()
                if entry.is_dir:
                    folders.append(path)
                else:
                    found.append(Listed(path, entry.size))
        return found

    @asynccontextmanager
    async def open(self, uri: str, path: str) -> AsyncIterator[Incoming]:
        """The file `path` below `uri`; raises FileGone where there is none."""
        try:
            async with self._client.stream_artifact(_below(self._path(uri), checked(path))) as stream:
                yield Incoming(stream.size, None, aiter(stream))
        except NotFound as error:
            raise FileGone(f"The file {path} of this version is not in the MLflow server's store.") from error

    def _path(self, uri: str) -> str:
        """The path below the server's artifact root; raises ArtifactsRefused for another server's.

        The server decodes it once more after the client has encoded it, so it is decoded once here.
        """
        parts = urlsplit(uri)
        if not self._is_own(parts.netloc):
            raise ArtifactsRefused(
                "This version's files lie on another server than the tracking server, whose credentials go "
                "nowhere else: a location without a host, mlflow-artifacts:/…, would be right."
            )
        path = unquote(parts.path).strip("/")
        try:
            return checked(path) if path else ""
        except UpstreamWrong as error:
            raise ArtifactsRefused(
                "This version's location leads out of the MLflow server's store."
            ) from error

    def _is_own(self, netloc: str) -> bool:
        if not netloc:
            return True
        other = urlsplit(f"//{netloc}")
        try:
            ports = {other.port, self._server.port or (443 if self._server.scheme == "https" else 80)}
        except ValueError:
            return False
        # A location often names the host alone; the files come from the tracking server either way.
        return "@" not in netloc and other.hostname == self._server.hostname and len(ports - {None}) == 1


def _below(folder: str, path: str) -> str:
    return f"{folder}/{path}" if folder and path else folder or path
