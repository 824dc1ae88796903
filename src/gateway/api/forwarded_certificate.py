"""What Envoy's header `X-Forwarded-Client-Cert` says of a client's certificate.

It has an element for each proxy on the way, as in `By=…;Hash=…;Subject="…";URI=…;DNS=…;Cert=…`, separated
by commas. Each proxy replaces the header, or appends its element. So the last one is of the client of the
nearest proxy.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from gateway.api.client_certificate import choose_names, read_pem_names

_MAX_LENGTH: Final = 24 * 1024
_PAIR: Final = re.compile(
    r"[ \t]*(?P<key>[A-Za-z]{1,16})="
    r'(?:"(?P<quoted>(?:[^"\\]|\\.)*)"[ \t]*|(?P<plain>[^",;\\]*))'
    r"(?P<end>[;,]|\Z)"
)
_ESCAPE: Final = re.compile(r"\\(.)")
_NAME_KEYS: Final = ("uri", "dns")

Element = dict[str, list[str]]


class MalformedHeader(ValueError):
    """A trusted proxy sent a header that cannot be understood; the text has nothing of it."""


@lru_cache(maxsize=512)
def forwarded_names(header: str) -> tuple[str, ...]:
    """Return the names in the certificate of the header's last element; raise MalformedHeader."""
    if len(header) > _MAX_LENGTH:
        raise MalformedHeader("it is too long")
    if not header.strip():
        return ()
    element = _last_element(header)
    uris, hosts = (element.get(key, []) for key in _NAME_KEYS)
    if uris or hosts:
        names = choose_names(uris, hosts)
        if len(names) < len(uris or hosts) and uris:
            raise MalformedHeader("it has a URI that is none")
        return names
    certificates = [value for value in element.get("cert", []) if value]
    if len(certificates) > 1:
        raise MalformedHeader("it has several certificates in one element")
    if not certificates:
        return ()
    try:
        return read_pem_names(unquote(certificates[0]).encode())
    except ValueError as error:
        raise MalformedHeader("its certificate cannot be read") from error


def _last_element(header: str) -> Element:
    """Parse the whole header, so that a quoted comma separates nothing."""
    element: Element = {}
    position = 0
    while match := _PAIR.match(header, position):
        value = match["plain"].strip() if match["quoted"] is None else _ESCAPE.sub(r"\1", match["quoted"])
        element.setdefault(match["key"].lower(), []).append(value)
        position = match.end()
        if not match["end"]:
            return element
        if match["end"] == ",":
            element = {}
    raise MalformedHeader("it is not of the form By=…;URI=…, as Envoy writes it")
