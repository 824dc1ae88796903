"""Remembers which requests with API keys were let in, so that the next one like it is let in at once."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from multidict import istr

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from gateway.auth.principal import Principal

MAX_REQUESTS: Final = 4096
MAX_URL_LENGTH: Final = 1024
KEPT_SECONDS: Final = 60.0
_AUTHORIZATION: Final = istr("Authorization")
_API_KEY: Final = istr("X-API-Key")


class KnownRequests:
    """The callers by the `Authorization` header and the URL of requests that were let in.

    What an API key may do depends on these and on the access file alone. All is forgotten when `version()`,
    the file in force, is another object, and every minute, so that a key which is not used is not kept.
    """

    def __init__(self, version: Callable[[], object], *, clock: Callable[[], float] = time.time) -> None:
        """`clock` returns seconds since 1970."""
        self._version = version
        self._clock = clock
        self._known: dict[tuple[str, str, str], Principal] = {}
        self._seen_version: object = None

    def find(self, request: web.Request) -> Principal | None:
        """Return the caller of a request like one that was let in; None if that must be found out."""
        headers = request.headers
        authorization = headers.get(_AUTHORIZATION)
        if authorization is None or self._version() is not self._seen_version:
            return None
        principal = self._known.get((authorization, request.method, request.raw_path))
        if principal is None:
            return None
        if self._clock() >= principal.expires_at:
            return None
        return None if _API_KEY in headers or len(headers.getall(_AUTHORIZATION)) > 1 else principal

    def add(self, request: web.Request, principal: Principal) -> None:
        """Remember that a request was let in, if it was by an API key in its only header for one."""
        authorizations = request.headers.getall(_AUTHORIZATION, ())
        if principal.source != "keys" or len(authorizations) != 1 or _API_KEY in request.headers:
            return
        if self._version() is not self._seen_version or len(self._known) >= MAX_REQUESTS:
            self._known.clear()
            self._seen_version = self._version()
        if not self._known:
            asyncio.get_running_loop().call_later(KEPT_SECONDS, self._known.clear)
        if len(request.raw_path) <= MAX_URL_LENGTH:
            self._known[authorizations[0], request.method, request.raw_path] = principal
