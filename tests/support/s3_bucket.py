"""A server with just enough of the S3 API to list and serve objects, with faults on demand."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from aiohttp import web

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

CONTENT = {"model/MLmodel": b"flavors: {}\n", "model/data.bin": b"0123456789" * 1000}


@dataclass
class Bucket:
    """The objects of every bucket. Each of `errors` answers one call; other faults hold for all calls."""

    objects: dict[str, bytes] = field(default_factory=lambda: dict(CONTENT))
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    silent: bool = False
    errors: list[tuple[int, str]] = field(default_factory=list)
    owners: list[str] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    downloads: int = 0
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.owners.append(request.headers.get("x-amz-expected-bucket-owner", ""))
        self.authorizations.append(request.headers.get("Authorization", ""))
        if self.errors:
            status, code = self.errors.pop(0)
            return web.Response(status=status, text=f"<Error><Code>{code}</Code></Error>")
        if "list-type" in request.query:
            return self._listing(request.query["prefix"])
        return await self._object(request)

    def _listing(self, prefix: str) -> web.Response:
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(content)}</Size></Contents>"
            for key, content in self.objects.items()
            if key.startswith(prefix)
        )
        text = f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"
        return web.Response(text=text, content_type="application/xml")

    async def _object(self, request: web.Request) -> web.StreamResponse:
        self.downloads += 1
        content = self.objects[request.match_info["key"]]
        tag = f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
        response = web.StreamResponse(
            headers={"Content-Length": str(len(content)), "ETag": tag, **self.headers}
        )
        await response.prepare(request)
        await response.write(content[: self.cut])
        if self.silent:
            await asyncio.sleep(30)
        if self.cut is not None and request.transport is not None:
            request.transport.close()
        return response


@asynccontextmanager
async def opened(tls: ssl.SSLContext | None = None) -> AsyncIterator[Bucket]:
    """Run the server on a free port."""
    bucket = Bucket()
    app = web.Application()
    app.router.add_get("/{bucket}", bucket.handle)
    app.router.add_get("/{bucket}/{key:.*}", bucket.handle)
    runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    bucket.url = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield bucket
    finally:
        await runner.cleanup()
