"""The model and version that a request's path names."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote

from gateway.domain.refs import ModelRef, parse_order, parse_selector
from gateway.errors import NotFound

if TYPE_CHECKING:
    from aiohttp import web


def get_model_name(request: web.Request) -> str:
    """Return the model's name, percent-decoded once; raises NotFound if its bytes are not valid text.

    The gateway never uses a name in a file path, so a name may contain whatever MLflow allows.
    """
    name = request.match_info["name"]
    if "\x00" in name or ("%" in name and not _is_utf8(request.rel_url.raw_path)):
        raise NotFound("No such model: its name is not valid text.")
    return name


def get_relative_root(request: web.Request) -> str:
    """Return the relative URL that leads from the request's URL to the gateway's root.

    An absolute one would be wrong behind a proxy that serves the gateway below a prefix, and strips that.
    """
    folders = request.rel_url.raw_path.count("/") - 1
    return "/".join([".."] * folders) or "."


def _is_utf8(raw_path: str) -> bool:
    """Return whether a path's percent-encoded bytes are UTF-8; others stay encoded in `match_info`."""
    try:
        unquote(raw_path, errors="strict")
    except UnicodeDecodeError:
        return False
    return True


def get_model_ref(request: web.Request) -> ModelRef:
    """Return the model's name and version; the version is `latest` if the path names none.

    Raises NotFound, and BadRequest for an invalid `order`.
    """
    version = request.match_info.get("version", "latest")
    if version != "best":
        if request.rel_url.raw_query_string:
            parse_order(request.query.get("order"))  # whatever the version is, so that a wrong one is seen
        return _cached_ref(get_model_name(request), version)
    query = request.query
    return ModelRef(
        get_model_name(request), parse_selector(version, metric=query.get("metric"), order=query.get("order"))
    )


@lru_cache(maxsize=4096)
def _cached_ref(name: str, version: str) -> ModelRef:
    return ModelRef(name, parse_selector(version))
