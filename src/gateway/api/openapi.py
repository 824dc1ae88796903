"""The OpenAPI document: `openapi.yaml`, and the last release's paths beside the present ones."""

from __future__ import annotations

from copy import deepcopy
from importlib import metadata, resources
from typing import Any, Final

import orjson
import yaml

PRESENT: Final = "/model"
LAST_RELEASE: Final = "/models"


def document() -> bytes:
    """The document as JSON; reads a file of this package."""
    text = resources.files("gateway.api").joinpath("openapi.yaml").read_bytes()
    described: dict[str, Any] = yaml.load(text, yaml.CSafeLoader)
    described["info"]["version"] = metadata.version("model-invocation-endpoint")
    paths = described["paths"]
    for path in [path for path in paths if path == PRESENT or path.startswith(f"{PRESENT}/")]:
        paths[LAST_RELEASE + path.removeprefix(PRESENT)] = _deprecated(paths[path])
    return orjson.dumps(described)


def _deprecated(item: dict[str, Any]) -> dict[str, Any]:
    """A copy of a path's description that advises against it."""
    copied = deepcopy(item)
    for method in ("get", "post"):
        if method in copied:
            copied[method]["deprecated"] = True
            copied[method]["operationId"] += "LastRelease"
            copied[method]["tags"] = ["last release"]
    return copied
