"""Renders the templates of this package: what strangers wrote is escaped, and an unknown name is an error."""

from __future__ import annotations

from functools import cache
from importlib import metadata
from typing import Any, Final

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gateway.console import text

_ORJSON_OPTIONS: Final = orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS
_UNSAFE_IN_SCRIPT: Final = {b"<": rb"\u003c", b">": rb"\u003e", b"&": rb"\u0026"}


def render(template: str, **context: object) -> str:
    """Return the text of a template with the names that it uses."""
    return _environment().get_template(template).render(**context)


def script_json(value: object) -> Markup:
    """Return a value as JSON for a `<script type="application/json">`, which no part of it can end."""
    data = orjson.dumps(value, option=_ORJSON_OPTIONS)
    for character, escaped in _UNSAFE_IN_SCRIPT.items():
        data = data.replace(character, escaped)
    return Markup(data.decode())  # noqa: S704 - JSON without < > &


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("gateway.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    filters: dict[str, Any] = {
        "script_json": script_json,
        "cut": text.cut,
        "bytes": text.format_bytes,
        "segment": text.path_segment,
        "number": text.format_number,
        "metric": text.format_metric,
    }
    environment.filters |= filters
    environment.globals["gateway_version"] = metadata.version("model-invocation-endpoint")
    return environment
