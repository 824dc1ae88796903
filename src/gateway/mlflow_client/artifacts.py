"""Files that the MLflow server serves from its artifact store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import aiohttp

from gateway.errors import BadUpstreamResponse
from gateway.mlflow_client import json_fields
from gateway.mlflow_client.errors import translate_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.mlflow_client.json_fields import Json

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ArtifactEntry:
    """A file or folder; `path` is relative to the listed folder."""

    path: str
    is_dir: bool
    size: int | None


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A folder among a run's artifacts: the store's URI of the root, and the folder's direct entries.

    The entries' paths are relative to the root.
    """

    root_uri: str
    entries: tuple[ArtifactEntry, ...]


class ArtifactStream:
    """An iterator over one file's bytes in chunks of at most 1 MiB; `size` is None if not known.

    It raises BadUpstreamResponse if the server closes the connection early, and UpstreamTimeout if it
    sends nothing for too long.
    """

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.size = response.content_length

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.content.iter_chunked(CHUNK_BYTES):
                yield chunk
        except (aiohttp.ClientError, TimeoutError) as error:
            raise translate_error(error) from error


def quote_path(path: str) -> str:
    """Return a path in the store, percent-encoded for a URL.

    Raise BadUpstreamResponse if a segment could lead out of its folder: the path may come from a store.
    """
    segments = path.strip("/").split("/")
    if any(segment in {"", ".", ".."} or "\\" in segment or "\0" in segment for segment in segments):
        raise BadUpstreamResponse("An artifact's path leads out of its folder.")
    return "/".join(quote(segment, safe="") for segment in segments)


def parse_entries(response: Json) -> list[ArtifactEntry]:
    """Parse a list of files and folders; leave out entries without a path."""
    return [
        ArtifactEntry(item["path"], item.get("is_dir") is True, _parse_size(item))
        for item in json_fields.get_objects(response, "files")
        if isinstance(item.get("path"), str)
    ]


def parse_run_folder(response: Json) -> RunFolder:
    """Parse a folder among a run's artifacts."""
    return RunFolder(json_fields.get_text(response, "root_uri"), tuple(parse_entries(response)))


def _parse_size(item: Json) -> int | None:
    size = item.get("file_size")
    if isinstance(size, str) and size.isascii() and size.isdigit():
        return int(size)
    return size if isinstance(size, int) else None
