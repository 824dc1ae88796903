"""A package index on loopback, and the small wheels that it serves: real ones for uv, without a network."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import threading
import zipfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_JSON = "application/vnd.pypi.simple.v1+json"
_BACKEND = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
_BACKEND_CODE = """
import shutil

def build_wheel(folder, config_settings=None, metadata_directory=None):
    shutil.copy("{name}", folder)
    return "{name}"
"""
_ZIP_DATE = (2020, 1, 1, 0, 0, 0)


def make_wheel(folder: Path, name: str, version: str, *, needs: Sequence[str] = (), size: int = 0) -> Path:
    """Write a wheel of one module, `name`.py, that needs `needs` and holds `size` bytes; return its path."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    metadata += [f"Requires-Dist: {need}" for need in needs]
    files = {
        f"{module}.py": f"__version__ = {version!r}\n",
        f"{info}/METADATA": "\n".join(metadata) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if size:
        files[f"{module}_data.bin"] = "".join(chr(97 + number % 26) for number in range(size))
    record = [f"{path},sha256={_record_digest(text)},{len(text)}" for path, text in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,"]) + "\n"
    wheel = folder / f"{module}-{version}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path, _ZIP_DATE), text)
    return wheel


def _record_digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


@dataclass
class PackageIndex:
    """A simple index of the files in `folder`. `uploaded` has when a file was uploaded, by its name.

    Without `upload_times` it answers as the mirrors that do not tell them. With `password`, user `reader`
    must send it. While `away`, it answers 503. While not `released`, it answers nothing.
    """

    folder: Path
    upload_times: bool = True
    password: str = ""
    away: bool = False
    port: int = 0
    uploaded: dict[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.released.set()

    @property
    def url(self) -> str:
        """The address with the password in it, as operators set it."""
        user = f"reader:{self.password}@" if self.password else ""
        return f"http://{user}127.0.0.1:{self.port}/simple"

    @property
    def authorization(self) -> str:
        """The header that has the password."""
        return "Basic " + base64.b64encode(f"reader:{self.password}".encode()).decode()

    def add(self, name: str, version: str, *, uploaded: str = "2020-01-01T00:00:00Z", **options: Any) -> Path:
        """Add a wheel that was uploaded at this time."""
        wheel = make_wheel(self.folder, name, version, **options)
        self.uploaded[wheel.name] = uploaded
        return wheel

    def add_sdist(self, name: str, version: str) -> None:
        """Add a source distribution, whose own program makes the same wheel."""
        built = make_wheel(self.folder / "built", name, version)
        top, path = f"{name}-{version}", self.folder / f"{name}-{version}.tar.gz"
        files = {
            "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
            "pyproject.toml": _BACKEND.encode(),
            "backend.py": _BACKEND_CODE.format(name=built.name).encode(),
            built.name: built.read_bytes(),
        }
        with tarfile.open(path, "w:gz") as archive:
            for file, content in files.items():
                entry = tarfile.TarInfo(f"{top}/{file}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        self.uploaded[path.name] = "2020-01-01T00:00:00Z"

    def files_of(self, name: str) -> list[dict[str, object]]:
        """Return the entries of a package."""
        found = []
        for path in sorted(path for path in self.folder.iterdir() if path.is_file()):
            if path.name.split("-")[0].replace("_", "-").lower() == name:
                entry: dict[str, object] = {
                    "filename": path.name,
                    "url": f"/files/{path.name}",
                    "hashes": {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()},
                }
                if self.upload_times:
                    entry["upload-time"] = self.uploaded[path.name]
                found.append(entry)
        return found


@contextmanager
def serve_index(folder: Path, **options: Any) -> Iterator[PackageIndex]:
    """Serve the wheels of `folder` until the context ends."""
    folder.mkdir(parents=True, exist_ok=True)
    index = PackageIndex(folder, **options)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(index))
    index.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield index
    finally:
        index.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(index: PackageIndex) -> type[BaseHTTPRequestHandler]:  # noqa: C901 - methods of a class
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index.requests.append(self.path)
            index.released.wait()
            if index.away:
                self._answer(503, b"")
            elif index.password and self.headers.get("Authorization") != index.authorization:
                self._answer(401, b"", ("WWW-Authenticate", "Basic"))
            elif self.path.startswith("/files/"):
                self._answer(200, (index.folder / unquote(self.path.split("/")[2])).read_bytes())
            else:
                self._page(self.path.strip("/").split("/")[-1])

        def do_HEAD(self) -> None:
            self.do_GET()

        def _page(self, name: str) -> None:
            files = index.files_of(name)
            page = {"meta": {"api-version": "1.1"}, "name": name, "files": files}
            self._answer(200 if files else 404, orjson.dumps(page), ("Content-Type", _JSON))

        def _answer(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                with suppress(ConnectionError):  # uv ends as soon as it knows enough
                    self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Print nothing."""

    return Handler
