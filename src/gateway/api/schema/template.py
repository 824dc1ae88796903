"""What the documents of all versions share: operations, errors and ways to show who is calling.

It is taken from the main document, so that the two cannot differ.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

INVOKE_PATH: Final = "/model/{name}/{version}/invocation"
SHOW_PATH: Final = "/model/{name}/{version}"
INFER_PATH: Final = "/v2/models/{name}/versions/{version}/infer"
_IN_PATH: Final = frozenset(
    f"#/components/parameters/{name}" for name in ("Name", "Version", "Metric", "Order")
)
_ONLY_FOR_BEST: Final = "422"
_REFERENCE: Final = "#/components/"
_OWN: Final = (("responses", "Prediction"), ("requestBodies", "Invocation"))


@dataclass(frozen=True, slots=True)
class Template:
    """The operations on a version whose path is known, and the components that they refer to."""

    openapi: str
    security: list[Any]
    invoke: Mapping[str, Any]
    show: Mapping[str, Any]
    infer: Mapping[str, Any]
    components: Mapping[str, Mapping[str, Any]]
    prediction: Mapping[str, Any]  # the response 200 of a prediction

    @classmethod
    def from_document(cls, document: bytes) -> Template:
        """Take the parts from the main OpenAPI document."""
        main = orjson.loads(document)
        paths = main["paths"]
        invoke = _fixed(paths[INVOKE_PATH]["post"])
        show, infer = _fixed(paths[SHOW_PATH]["get"]), _fixed(paths[INFER_PATH]["post"])
        prediction = main["components"]["responses"]["Prediction"]
        del invoke["requestBody"], invoke["responses"]["200"]
        used = _closure([invoke, show, infer, prediction], main["components"])
        used.setdefault("schemas", {}).pop("Prediction", None)
        return cls(
            openapi=main["openapi"],
            security=main["security"],
            invoke=invoke,
            show=show,
            infer=infer,
            components={"securitySchemes": main["components"]["securitySchemes"], **used},
            prediction=prediction,
        )


def _fixed(operation: dict[str, Any]) -> dict[str, Any]:
    """Return an operation without what only selects the version, as its path names one."""
    fixed = deepcopy(operation)
    parameters = [each for each in operation.get("parameters", []) if each.get("$ref") not in _IN_PATH]
    fixed.pop("parameters", None)
    if parameters:
        fixed["parameters"] = parameters
    fixed["responses"].pop(_ONLY_FOR_BEST, None)
    return fixed


def _closure(roots: list[Any], components: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what `roots` refer to, directly or by other components, in the main document's order."""
    found: set[tuple[str, str]] = set()
    waiting: list[Any] = list(roots)
    while waiting:
        for section, name in set(_references(waiting.pop())) - found - set(_OWN):
            found.add((section, name))
            waiting.append(components[section][name])
    return {
        section: kept
        for section, entries in components.items()
        if (kept := {name: entry for name, entry in entries.items() if (section, name) in found})
    }


def _references(part: Any) -> Iterator[tuple[str, str]]:
    if isinstance(part, dict):
        target = part.get("$ref")
        if isinstance(target, str) and target.startswith(_REFERENCE):
            section, _, name = target.removeprefix(_REFERENCE).partition("/")
            yield section, name
        for value in part.values():
            yield from _references(value)
    elif isinstance(part, list):
        for value in part:
            yield from _references(value)
