"""Files that the MLflow server hands on from its artifact store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import aiohttp

from gateway.errors import BadUpstreamResponse
from gateway.mlflow_client.errors import translate_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ArtifactEntry:
    """A file or folder; `path` is relative to the folder that was listed."""

    path: str
    is_dir: bool
    size: int | None


class ArtifactStream:
    """One file's bytes as they arrive, in chunks of at most 1 MiB; `size` where the server tells it.

    Iterating raises UpstreamWrong where the server breaks off, UpstreamSlow where it falls silent.
    """

    def __init__(self, reply: aiohttp.ClientResponse) -> None:
        self._response = reply
        self.size = reply.content_length

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.content.iter_chunked(CHUNK_BYTES):
                yield chunk
        except (aiohttp.ClientError, TimeoutError) as error:
            raise translate_error(error) from error


def quote_path(path: str) -> str:
    """A path in the store as a piece of an address.

    Raises UpstreamWrong where a segment would lead out of it: such a path may come from a store.
    """
    segments = path.strip("/").split("/")
    if any(segment in {"", ".", ".."} or "\\" in segment or "\0" in segment for segment in segments):
        raise BadUpstreamResponse("An artifact's path leads out of its folder.")
    return "/".join(quote(segment, safe="") for segment in segments)
