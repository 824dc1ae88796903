"""The routes that document the API: its OpenAPI document, and a page with Swagger UI."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from aiohttp import web

from gateway.api.keys import COMPONENTS
from gateway.api.openapi import with_server
from gateway.api.paths import get_relative_root
from gateway.errors import NotFound

_PAGE_FOLDER: Final = Path(__file__).parents[1] / "docs_page"
_SWAGGER_FILES: Final = frozenset({"swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"})
_START_SCRIPT: Final = "start.js"
_SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


async def openapi(request: web.Request) -> web.Response:
    """GET /openapi.json: the OpenAPI 3.1 document of all routes."""
    body = with_server(request.app[COMPONENTS].openapi, get_relative_root(request))
    return web.Response(body=body, content_type="application/json")


async def page(request: web.Request) -> web.Response:
    """GET /docs: the page; its addresses are relative, so that a proxy may add a prefix."""
    base = "../" if request.path.endswith("/") else ""
    return web.Response(
        text=_read_page().replace("{base}", base), content_type="text/html", headers=_SECURITY_HEADERS
    )


async def file(request: web.Request) -> web.StreamResponse:
    """GET /docs/{file}: one of the files that the page loads."""
    name = request.match_info["file"]
    if name == _START_SCRIPT:
        return web.FileResponse(_PAGE_FOLDER / name, headers=_SECURITY_HEADERS)
    if name not in _SWAGGER_FILES:
        raise NotFound("No such file.")
    return web.FileResponse(_swagger_ui_folder() / name, headers=_SECURITY_HEADERS)


@cache
def _read_page() -> str:
    return (_PAGE_FOLDER / "index.html").read_text(encoding="utf-8")


def _swagger_ui_folder() -> Path:
    """Return the folder of Swagger UI's files, without importing its package, which would import Flask."""
    spec = find_spec("flask_swagger_ui")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("flask-swagger-ui is not installed")
    return Path(spec.submodule_search_locations[0], "dist")
