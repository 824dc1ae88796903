"""A registry of container images on loopback, with one tiny image under every name and tag."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


class ImageRegistry:
    """A registry at `address`. `digest` is what every tag is now; `change` makes it another one."""

    def __init__(self) -> None:
        self.address = ""
        self._contents: dict[str, tuple[str, bytes]] = {}
        self.change("first")

    def change(self, text: str) -> None:
        """Put an image with this text in its only file under every name and tag."""
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as archive:
            entry = tarfile.TarInfo("text")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
        files = {"type": "layers", "diff_ids": [_digest(tar.getvalue())]}
        config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": files}
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._keep(CONFIG, json.dumps(config).encode()),
            "layers": [self._keep(LAYER, gzip.compress(tar.getvalue(), mtime=0))],
        }
        self.digest = str(self._keep(MANIFEST, json.dumps(manifest).encode())["digest"])

    def find(self, path: str) -> tuple[str, bytes] | None:
        """Return the media type and the bytes at a path of the registry's interface."""
        if path.rstrip("/") == "/v2":
            return "application/json", b"{}"
        kind, _, wanted = path.rpartition("/")
        by_tag = kind.endswith("/manifests") and not wanted.startswith("sha256:")
        return self._contents.get(self.digest if by_tag else wanted)

    def _keep(self, media_type: str, content: bytes) -> dict[str, object]:
        self._contents[_digest(content)] = media_type, content
        return {"mediaType": media_type, "size": len(content), "digest": _digest(content)}


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


@contextmanager
def image_registry() -> Iterator[ImageRegistry]:
    """Serve a registry until the context ends."""
    registry = ImageRegistry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            media_type, content = registry.find(self.path) or ("", b"")
            self.send_response(200 if media_type else 404)
            self.send_header("Content-Type", media_type or "text/plain")
            self.send_header("Content-Length", str(len(content)))
            if media_type == MANIFEST:
                self.send_header("Docker-Content-Digest", _digest(content))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        registry.address = f"127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield registry
        server.shutdown()
