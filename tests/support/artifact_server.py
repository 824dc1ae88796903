"""A server of artifacts with the API of an MLflow server, and faults on demand."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_BLOCK = bytes(range(256)) * 1024


@dataclass
class Gate:
    """A point in the middle of a response body: the rest is sent when `open` is set."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    open: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class ArtifactServer:
    """The served files and their faults; paths are relative to the store's root.

    `files` has contents, or sizes of generated content. `extra_listed` adds hostile names to the listing of
    a folder, `listed_sizes` replaces listed sizes, `cut_at` closes the connection after that many bytes, and
    `statuses` are the error statuses of files. `downloads` counts the requests per file.
    """

    files: dict[str, bytes | int] = field(default_factory=dict)
    extra_listed: dict[str, list[str]] = field(default_factory=dict)
    listed_sizes: dict[str, int | None] = field(default_factory=dict)
    cut_at: dict[str, int] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    gates: dict[str, Gate] = field(default_factory=dict)
    downloads: Counter[str] = field(default_factory=Counter)
    authorizations: list[str] = field(default_factory=list)
    url: str = ""

    def add_model(self, name: str, *, size: int = 1000) -> str:
        """Add a model of two files and return its URI; one of them has `size` bytes."""
        self.files[f"{name}/MLmodel"] = f"flavors: {{}}\nname: {name}\n".encode()
        self.files[f"{name}/data/model.bin"] = size
        return f"mlflow-artifacts:/{name}"

    def add_gate(self, path: str) -> Gate:
        """Stop every download of the file at `path` after half of its bytes."""
        self.gates[path] = Gate()
        return self.gates[path]

    async def list_files(self, request: web.Request) -> web.Response:
        folder = request.query.get("path", "")
        top = f"{folder}/" if folder else ""
        found: dict[str, dict[str, object]] = {}
        for path, content in self.files.items():
            if path.startswith(top):
                name, _, rest = path.removeprefix(top).partition("/")
                size = self.listed_sizes.get(path, len(content) if isinstance(content, bytes) else content)
                found[name] = {"path": name, "is_dir": bool(rest), **({} if rest else {"file_size": size})}
        hostile = [
            {"path": name, "is_dir": False, "file_size": 1} for name in self.extra_listed.get(folder, ())
        ]
        return web.json_response({"files": [*found.values(), *hostile]})

    async def serve_file(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        self.downloads[path] += 1
        self.authorizations.append(request.headers.get("Authorization", ""))
        if path in self.statuses:
            return _error_response(self.statuses[path])
        if path not in self.files:
            return _error_response(404)
        content = self.files[path]
        size = len(content) if isinstance(content, bytes) else content
        response = web.StreamResponse(headers={"Content-Length": str(size)})
        await response.prepare(request)
        await self._send(request, response, path=path, content=content)
        return response

    async def _send(
        self, request: web.Request, response: web.StreamResponse, *, path: str, content: bytes | int
    ) -> None:
        size = len(content) if isinstance(content, bytes) else content
        end = self.cut_at.get(path, size)
        sent = 0
        while sent < end:
            if path in self.gates and sent >= size // 2:
                self.gates[path].reached.set()
                await self.gates[path].open.wait()
            count = min(len(_BLOCK), end - sent)
            if path in self.gates and sent < size // 2:
                count = min(count, size // 2 - sent)
            await response.write(
                content[sent : sent + count] if isinstance(content, bytes) else _BLOCK[:count]
            )
            sent += count
        if end < size and request.transport is not None:
            request.transport.close()


def _error_response(status: int) -> web.Response:
    code = {404: "RESOURCE_DOES_NOT_EXIST"}.get(status, "INTERNAL_ERROR")
    return web.json_response({"error_code": code, "message": "no"}, status=status)


@asynccontextmanager
async def opened() -> AsyncIterator[ArtifactServer]:
    """Run a server without files on a free port."""
    server = ArtifactServer()
    app = web.Application()
    app.router.add_get("/api/2.0/mlflow-artifacts/artifacts", server.list_files)
    app.router.add_get("/api/2.0/mlflow-artifacts/artifacts/{path:.*}", server.serve_file)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        for gate in server.gates.values():
            gate.open.set()
        await runner.cleanup()
