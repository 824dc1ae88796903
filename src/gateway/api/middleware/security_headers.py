"""The headers of every response that restrict what a browser does with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from multidict import istr

if TYPE_CHECKING:
    from multidict import CIMultiDict

_SERVER: Final = istr("Server")
_NOSNIFF: Final = istr("X-Content-Type-Options")
RESOURCE_POLICY: Final = istr("Cross-Origin-Resource-Policy")
_CACHE_CONTROL: Final = istr("Cache-Control")


def add_security_headers(headers: CIMultiDict[str]) -> None:
    """Add them to the headers of a response; Cache-Control stays as it is if there is one.

    aiohttp's Server header would name its version and Python's.
    """
    headers[_SERVER] = "model-invocation-endpoint"
    headers[_NOSNIFF] = "nosniff"
    headers[RESOURCE_POLICY] = "same-origin"
    headers.setdefault(_CACHE_CONTROL, "no-store")
