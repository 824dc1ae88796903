"""The OpenAPI document: the YAML files here, and the last release's paths beside the present ones."""

from __future__ import annotations

from copy import deepcopy
from importlib import metadata, resources
from typing import Any, Final

import orjson
import yaml

PRESENT: Final = "/model"
LAST_RELEASE: Final = "/models"


def document() -> bytes:
    """The document as JSON; reads files of this package."""
    described = _read("openapi.yaml")
    more = _read("openapi_v2.yaml")
    described["tags"] += more["tags"]
    described["paths"] |= more["paths"]
    for part, named in more["components"].items():
        described["components"][part] |= named
    described["info"]["version"] = metadata.version("model-invocation-endpoint")
    paths = described["paths"]
    for path in [path for path in paths if path == PRESENT or path.startswith(f"{PRESENT}/")]:
        paths[LAST_RELEASE + path.removeprefix(PRESENT)] = _deprecated(paths[path])
    return orjson.dumps(described)


def _read(name: str) -> dict[str, Any]:
    text = resources.files("gateway.api").joinpath(name).read_bytes()
    described: dict[str, Any] = yaml.load(text, yaml.CSafeLoader)
    return described


def _deprecated(item: dict[str, Any]) -> dict[str, Any]:
    """A copy of a path's description that advises against it."""
    copied = deepcopy(item)
    for method in ("get", "post"):
        if method in copied:
            copied[method]["deprecated"] = True
            copied[method]["operationId"] += "LastRelease"
            copied[method]["tags"] = ["last release"]
    return copied
