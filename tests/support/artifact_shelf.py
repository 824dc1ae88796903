"""Files served as an MLflow server serves artifacts, with faults on demand."""

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
    """Holds an answer back after half of its bytes, until `open` is set."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    open: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Shelf:
    """What is served, and what goes wrong; paths are relative to the store's root.

    A number in place of content means that many bytes of a pattern, never in memory as a whole.
    """

    files: dict[str, bytes | int] = field(default_factory=dict)
    also_listed: dict[str, list[str]] = field(default_factory=dict)
    listed_sizes: dict[str, int | None] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    status: dict[str, int] = field(default_factory=dict)
    gates: dict[str, Gate] = field(default_factory=dict)
    fetched: Counter[str] = field(default_factory=Counter)
    heard: list[str] = field(default_factory=list)
    url: str = ""

    def model(self, name: str, *, size: int = 1000) -> str:
        """Put a model of two files on the shelf; returns its URI."""
        self.files[f"{name}/MLmodel"] = f"flavors: {{}}\nname: {name}\n".encode()
        self.files[f"{name}/data/model.bin"] = size
        return f"mlflow-artifacts:/{name}"

    def gate(self, path: str) -> Gate:
        """Hold back the file at `path` half way."""
        self.gates[path] = Gate()
        return self.gates[path]

    async def listing(self, request: web.Request) -> web.Response:
        folder = request.query.get("path", "")
        top = f"{folder}/" if folder else ""
        found: dict[str, dict[str, object]] = {}
        for path, content in self.files.items():
            if path.startswith(top):
                name, _, rest = path.removeprefix(top).partition("/")
                size = self.listed_sizes.get(path, len(content) if isinstance(content, bytes) else content)
                found[name] = {"path": name, "is_dir": bool(rest), **({} if rest else {"file_size": size})}
        hostile = [
            {"path": name, "is_dir": False, "file_size": 1} for name in self.also_listed.get(folder, ())
        ]
        return web.json_response({"files": [*found.values(), *hostile]})

    async def file(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        self.fetched[path] += 1
        self.heard.append(request.headers.get("Authorization", ""))
        if path in self.status:
            return _refusal(self.status[path])
        if path not in self.files:
            return _refusal(404)
        content = self.files[path]
        size = len(content) if isinstance(content, bytes) else content
        reply = web.StreamResponse(headers={"Content-Length": str(size)})
        await reply.prepare(request)
        await self._send(request, reply, path=path, content=content)
        return reply

    async def _send(
        self, request: web.Request, reply: web.StreamResponse, *, path: str, content: bytes | int
    ) -> None:
        size = len(content) if isinstance(content, bytes) else content
        ends = self.cut.get(path, size)
        sent = 0
        while sent < ends:
            if path in self.gates and sent >= size // 2:
                self.gates[path].reached.set()
                await self.gates[path].open.wait()
            count = min(len(_BLOCK), ends - sent)
            if path in self.gates and sent < size // 2:
                count = min(count, size // 2 - sent)
            await reply.write(content[sent : sent + count] if isinstance(content, bytes) else _BLOCK[:count])
            sent += count
        if ends < size and request.transport is not None:
            request.transport.close()


def _refusal(status: int) -> web.Response:
    code = {404: "RESOURCE_DOES_NOT_EXIST"}.get(status, "INTERNAL_ERROR")
    return web.json_response({"error_code": code, "message": "no"}, status=status)


@asynccontextmanager
async def opened() -> AsyncIterator[Shelf]:
    """An empty shelf behind a real server on a free port."""
    shelf = Shelf()
    app = web.Application()
    app.router.add_get("/api/2.0/mlflow-artifacts/artifacts", shelf.listing)
    app.router.add_get("/api/2.0/mlflow-artifacts/artifacts/{path:.*}", shelf.file)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    shelf.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield shelf
    finally:
        for gate in shelf.gates.values():
            gate.open.set()
        await runner.cleanup()
