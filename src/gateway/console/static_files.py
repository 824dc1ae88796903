"""The files that the pages load: style sheets, ES modules and images, all from this package."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from aiohttp import web

from gateway.errors import NotFound

FOLDER: Final = Path(__file__).parent / "static"
PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""The headers of every page, and of every file that a page loads."""

_FILE_HEADERS: Final = PAGE_HEADERS | {"Cache-Control": "no-cache"}
_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


async def file(request: web.Request) -> web.StreamResponse:
    """GET /ui/static/{file}: one of the files of the package's folder; NotFound for any other name."""
    name = request.match_info["file"]
    if name not in _names():
        raise NotFound("No such file.")
    headers = _FILE_HEADERS | {"Content-Type": _MEDIA_TYPES[Path(name).suffix]}
    return web.FileResponse(FOLDER / name, headers=headers)


@cache
def _names() -> frozenset[str]:
    """Return the names that may be served; a name from a request is never made a path before it is here."""
    return frozenset(
        path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.suffix in _MEDIA_TYPES
    )
