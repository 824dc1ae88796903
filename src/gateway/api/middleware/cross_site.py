"""The check of what web page a request comes from.

A browser sends many requests of any page to any address, and only keeps the page from reading the answer. It
says in `Sec-Fetch-Site` or `Origin` where a request comes from, and pages cannot change these headers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aiohttp import web

_OWN_SITE: Final = frozenset({"same-origin", "none"})
"""`none` is what a person does without a page: a bookmark, the address bar."""

_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
_ORIGIN: Final = re.compile(r"(https?)://([^/]+)", re.ASCII)


def is_cross_site(request: web.Request) -> bool:
    """Return whether a web page of another origin sent the request.

    `Sec-Fetch-Site` decides; browsers send it to `https:` addresses and to loopback. Without it, `Origin`
    must name the host and port of the Host header. A request with neither comes from no web page.
    """
    headers = request.headers
    if (site := headers.get("Sec-Fetch-Site")) is not None:
        return site not in _OWN_SITE
    origin = headers.get("Origin")
    return origin is not None and not _is_own_origin(origin, headers.get("Host", ""), scheme=request.scheme)


def _is_own_origin(origin: str, host: str, *, scheme: str) -> bool:
    """Return whether a page of `origin` was loaded from `host`; `scheme` is that of the gateway's connection.

    That may be `http` where the browser's is `https`, because a proxy ended TLS.
    """
    match = _ORIGIN.fullmatch(origin)
    if match is None or (scheme == "https" and match[1] == "http"):
        return False
    port = _DEFAULT_PORTS[match[1]]
    return match[2].lower().removesuffix(port) == host.lower().removesuffix(port)
