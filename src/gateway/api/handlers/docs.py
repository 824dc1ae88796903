"""The routes that describe the API: its OpenAPI document, and Swagger UI to read and try it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from aiohttp import web

from gateway.api import keys
from gateway.errors import NotFound

_SWAGGER_FILES: Final = frozenset({"swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"})
_START_SCRIPT_NAME: Final = "start.js"
_SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_PAGE_HTML: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Model invocation endpoint</title>
<link rel="icon" type="image/png" href="{base}docs/favicon-32x32.png">
<link rel="stylesheet" href="{base}docs/swagger-ui.css">
</head>
<body>
<div id="docs" data-document="{base}openapi.json"></div>
<script src="{base}docs/swagger-ui-bundle.js"></script>
<script src="{base}docs/start.js"></script>
</body>
</html>
"""
_START_SCRIPT: Final = """"use strict";
const place = document.getElementById("docs");
SwaggerUIBundle({
  url: new URL(place.dataset.document, document.baseURI).href,
  domNode: place,
  deepLinking: true,
  validatorUrl: null,
});
"""


async def openapi(request: web.Request) -> web.Response:
    """GET /openapi.json: the OpenAPI 3.1 document of every route."""
    return web.Response(body=request.app[keys.OPENAPI], content_type="application/json")


async def page(request: web.Request) -> web.Response:
    """GET /docs: the page that shows the document; relative addresses let a proxy move it."""
    base = "../" if request.path.endswith("/") else ""
    return web.Response(
        text=_PAGE_HTML.format(base=base), content_type="text/html", headers=_SECURITY_HEADERS
    )


async def file(request: web.Request) -> web.StreamResponse:
    """GET /docs/{file}: one of the page's own files, from this machine."""
    name = request.match_info["file"]
    if name == _START_SCRIPT_NAME:
        return web.Response(text=_START_SCRIPT, content_type="text/javascript", headers=_SECURITY_HEADERS)
    if name not in _SWAGGER_FILES:
        raise NotFound("No such file.")
    return web.FileResponse(_swagger_ui_folder() / name, headers=_SECURITY_HEADERS)


def _swagger_ui_folder() -> Path:
    """The folder of Swagger UI's files; found without importing its package, which would bring in Flask."""
    spec = find_spec("flask_swagger_ui")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("flask-swagger-ui is not installed")
    return Path(spec.submodule_search_locations[0], "dist")
