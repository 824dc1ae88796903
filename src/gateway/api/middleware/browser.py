"""The rules for what web browsers may do; requests of other clients pass them unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from multidict import istr

from gateway.api.errors import HttpError
from gateway.api.middleware.cors import allow_origin, is_preflight, preflight_response
from gateway.api.middleware.cross_site import is_cross_site
from gateway.api.middleware.host_check import HostCheck, quote

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.settings import BrowserSettings

_HOST: Final = istr("Host")
_ORIGIN: Final = istr("Origin")
_FETCH_SITE: Final = istr("Sec-Fetch-Site")
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class BrowserRules:
    """The rules of one application: names of the gateway, origins that may call it, headers of responses."""

    def __init__(self, settings: BrowserSettings) -> None:
        self._hosts = HostCheck(settings.allowed_hosts)
        self._known_hosts = self._hosts.known
        self._allowed_origins = frozenset(settings.allowed_origins)

    def check(self, request: web.Request) -> web.Response | None:
        """Return the response to a preflight request of an allowed origin; None for every other request.

        Raise HttpError with 421 if the request was sent to a name that is not the gateway's, and with 403 if
        a web page of another origin sent it and could change something by it.
        """
        headers = request.headers
        if headers.get(_HOST) not in self._known_hosts or request.raw_path[:1] != "/":
            self._hosts.check(request)
        if _ORIGIN in headers or _FETCH_SITE in headers:
            return self._check_page(request)
        return None

    def _check_page(self, request: web.Request) -> web.Response | None:
        origin = request.headers.get(_ORIGIN)
        preflight = origin is not None and is_preflight(request)
        if request.method in _SAFE_METHODS and not preflight:
            return None
        if origin in self._allowed_origins:
            return preflight_response() if preflight else None
        if preflight or is_cross_site(request):
            pages = "of other sites" if origin is None else f"of {quote(origin)}"
            message = (
                f"Web pages {pages} may not call this gateway: GATEWAY_ALLOWED_ORIGINS names those that may."
            )
            raise HttpError(403, "PERMISSION_DENIED", message=message)
        return None

    @property
    def allows_origins(self) -> bool:
        """Whether any other origin may call the gateway, so that responses say which."""
        return bool(self._allowed_origins)

    async def add_origin(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add to a response, before it is sent, that its origin may read it; a signal handler of aiohttp."""
        response.headers.add("Vary", "Origin")
        origin = request.headers.get(_ORIGIN)
        if origin in self._allowed_origins:
            allow_origin(response.headers, origin)
