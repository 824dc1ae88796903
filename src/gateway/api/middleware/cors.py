"""Cross-Origin Resource Sharing: what tells a browser that a page of another origin may call the gateway.

No response allows credentials of the browser, such as cookies: a page sends a key or a token itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

if TYPE_CHECKING:
    from multidict import CIMultiDict

_MAX_AGE_SECONDS: Final = 600
_METHODS: Final = "GET, HEAD, POST"
_REQUEST_HEADERS: Final = ", ".join(
    (
        "Accept",
        "Authorization",
        "Content-Encoding",
        "Content-Type",
        "Inference-Header-Content-Length",
        "X-API-Key",
        "X-Request-Id",
    )
)
_RESPONSE_HEADERS: Final = ", ".join(
    (
        "Inference-Header-Content-Length",
        "Model-Name",
        "Model-Version",
        "RateLimit",
        "RateLimit-Policy",
        "Retry-After",
        "Server-Timing",
        "WWW-Authenticate",
        "X-Request-Id",
    )
)


def is_preflight(request: web.Request) -> bool:
    """Return whether a browser asks what a page of another origin may send; the page's request follows."""
    return request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers


def preflight_response() -> web.Response:
    """Return the answer to a preflight request of an allowed origin, without what `allow_origin` adds."""
    headers = {
        "Access-Control-Allow-Methods": _METHODS,
        "Access-Control-Allow-Headers": _REQUEST_HEADERS,
        "Access-Control-Max-Age": str(_MAX_AGE_SECONDS),
        "Vary": "Access-Control-Request-Method, Access-Control-Request-Headers",
    }
    return web.Response(status=204, headers=headers)


def allow_origin(headers: CIMultiDict[str], origin: str) -> None:
    """Let pages of `origin` read a response with these headers."""
    headers["Access-Control-Allow-Origin"] = origin
    headers["Access-Control-Expose-Headers"] = _RESPONSE_HEADERS
