"""The OpenAPI document: the YAML files here, and the last release's paths beside the present ones."""

from __future__ import annotations

from copy import deepcopy
from importlib import metadata, resources
from typing import Any, Final

import orjson
import yaml

CURRENT_PREFIX: Final = "/model"
DEPRECATED_PREFIX: Final = "/models"


def build_document() -> bytes:
    """The document as JSON; reads files of this package."""
    described = _read_yaml("openapi.yaml")
    more = _read_yaml("openapi_v2.yaml")
    described["tags"] += more["tags"]
    described["paths"] |= more["paths"]
    for part, named in more["components"].items():
        described["components"][part] |= named
    described["info"]["version"] = metadata.version("model-invocation-endpoint")
    paths = described["paths"]
    for path in [path for path in paths if path == CURRENT_PREFIX or path.startswith(f"{CURRENT_PREFIX}/")]:
        paths[DEPRECATED_PREFIX + path.removeprefix(CURRENT_PREFIX)] = _as_deprecated(paths[path])
    return orjson.dumps(described)


def _read_yaml(name: str) -> dict[str, Any]:
    text = resources.files("gateway.api").joinpath(name).read_bytes()
    described: dict[str, Any] = yaml.load(text, yaml.CSafeLoader)
    return described


def _as_deprecated(item: dict[str, Any]) -> dict[str, Any]:
    """A copy of a path's description that advises against it."""
    copied = deepcopy(item)
    for method in ("get", "post"):
        if method in copied:
            copied[method]["deprecated"] = True
            copied[method]["operationId"] += "LastRelease"
            copied[method]["tags"] = ["last release"]
    return copied
