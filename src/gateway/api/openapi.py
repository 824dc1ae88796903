"""The OpenAPI document: this package's YAML files, and the deprecated paths beside the current ones."""

from __future__ import annotations

from copy import deepcopy
from importlib import metadata, resources
from typing import Any, Final

import orjson
import yaml

CURRENT_PREFIX: Final = "/model"
DEPRECATED_PREFIX: Final = "/models"
_OPEN_PREFIXES: Final = ("/health/", "/v2/health/", "/docs", "/openapi.json")
_METHODS: Final = ("get", "post")
_PROBES: Final = ("/health/", "/v2/health/")
_REFUSALS: Final = {
    "400": "BadRequest",
    "401": "Unauthenticated",
    "403": "Forbidden",
    "429": "LimitExceeded",
    "503": "Unavailable",
}


def build_document() -> bytes:
    """Return the document as JSON; reads files of this package."""
    document = _read_yaml("openapi.yaml")
    for name in ("openapi_v2.yaml", "openapi_mlflow.yaml"):
        part = _read_yaml(name)
        document["tags"] += part["tags"]
        document["paths"] |= part["paths"]
        for section, entries in part["components"].items():
            document["components"][section] |= entries
    document["info"]["version"] = metadata.version("model-invocation-endpoint")
    paths = document["paths"]
    for path, item in paths.items():
        _add_refusals(path, item)
    for path in [path for path in paths if path == CURRENT_PREFIX or path.startswith(f"{CURRENT_PREFIX}/")]:
        paths[DEPRECATED_PREFIX + path.removeprefix(CURRENT_PREFIX)] = _as_deprecated(paths[path])
    return orjson.dumps(document)


def with_server(document: bytes, url: str) -> bytes:
    """Return the document with the URL of its server, which may be relative to the document's own."""
    return b'{"servers":%b,%b' % (orjson.dumps([{"url": url}]), document.removeprefix(b"{"))


def _read_yaml(name: str) -> dict[str, Any]:
    text = resources.files("gateway.api").joinpath(name).read_bytes()
    document: dict[str, Any] = yaml.load(text, yaml.CSafeLoader)
    return document


def _add_refusals(path: str, path_item: dict[str, Any]) -> None:
    """Add what access control answers to each operation of a path; an open one needs no credentials."""
    is_open = path.startswith(_OPEN_PREFIXES)
    for method in _METHODS:
        if (operation := path_item.get(method)) is None:
            continue
        refusals = {} if is_open else _REFUSALS
        if not path.startswith(_PROBES):
            refusals = refusals | {"421": "ForeignHost"}
        operation["responses"] = {
            status: {"$ref": f"#/components/responses/{'V2Error' if path.startswith('/v2') else name}"}
            for status, name in refusals.items()
        } | operation["responses"]
        if is_open:
            operation["security"] = []


def _as_deprecated(path_item: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a path's description that is marked as deprecated."""
    deprecated = deepcopy(path_item)
    for method in _METHODS:
        if method in deprecated:
            deprecated[method]["deprecated"] = True
            deprecated[method]["operationId"] += "LastRelease"
            deprecated[method]["tags"] = ["last release"]
    return deprecated
