"""Responses that many open pages share for a second, with a tag that says whether they changed."""

from __future__ import annotations

import hashlib
import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web
from cachetools import TTLCache

from gateway.concurrency.singleflight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_SECONDS: Final = 1.0
_MAX_RESPONSES: Final = 64
_GZIP: Final = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class CachedResponse:
    """A response's content, the same compressed, and the tag of both."""

    plain: bytes
    compressed: bytes
    etag: str

    @classmethod
    def of(cls, document: dict[str, Any]) -> CachedResponse:
        """Return the response with this JSON."""
        plain = orjson.dumps(document)
        packer = zlib.compressobj(1, zlib.DEFLATED, _GZIP)
        etag = f'"{hashlib.blake2s(plain, digest_size=12).hexdigest()}"'
        return cls(plain, packer.compress(plain) + packer.flush(), etag)

    def to(self, request: web.Request) -> web.Response:
        """Return the answer to a request: 304 if the client has this content already."""
        headers = {"ETag": self.etag, "Cache-Control": "private, no-cache", "Vary": "Accept-Encoding"}
        if request.headers.get("If-None-Match") == self.etag:
            return web.Response(status=304, headers=headers)
        headers["Content-Type"] = "application/json"
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return web.Response(body=self.compressed, headers=headers)
        return web.Response(body=self.plain, headers=headers)


class ResponseCache:
    """The responses of the last second by key; each is built once, however many requests ask for it."""

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        self._responses: TTLCache[str, CachedResponse] = TTLCache(_MAX_RESPONSES, _SECONDS, timer=timer)
        self._builds: SingleFlight[str] = SingleFlight()

    async def get(self, key: str, build: Callable[[], Coroutine[Any, Any, dict[str, Any]]]) -> CachedResponse:
        """Return the response for a key, with the JSON that `build` returns. Raise what `build` raises."""
        if (response := self._responses.get(key)) is None:
            response = await self._builds.do(key, lambda: self._build(key, build))
        return response

    def __contains__(self, key: str) -> bool:
        """Whether the response for a key would be found."""
        return key in self._responses

    async def close(self) -> None:
        """Cancel the builds that run."""
        await self._builds.close()

    async def _build(
        self, key: str, build: Callable[[], Coroutine[Any, Any, dict[str, Any]]]
    ) -> CachedResponse:
        response = self._responses[key] = CachedResponse.of(await build())
        return response
