"""The route of a version's own OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from aiohttp import web

from gateway.api.keys import COMPONENTS
from gateway.api.paths import get_model_ref, get_relative_root
from gateway.api.schema.document import Described

if TYPE_CHECKING:
    from gateway.domain.models import ModelVersion

_INPUT_CHECKS_TAG: Final = "gateway.input_checks"
_BY_MLFLOW: Final = "mlflow"


async def show_document(request: web.Request) -> web.Response:
    """GET /model/{name}/{version}/openapi.json: the schemas of the version's inputs, params and outputs."""
    ref, components = get_model_ref(request), request.app[COMPONENTS]
    details, _ = await components.details.get(ref)
    version = details.version
    checks = _input_checks(version, default=components.settings.value.input_checks)
    document = await components.documents.get(
        Described(
            key=version.key,
            source=version.source,
            mlmodel=details.mlmodel,
            example=details.input_example,
            checks_by_mlflow=checks == _BY_MLFLOW,
        )
    )
    asked = ""
    if not ref.selector.fixed:
        name = f"version {version.version}"
        asked = f"`{request.match_info['version']}` is {name} now; this is the document of {name}.\n\n"
    return web.Response(
        body=document.render(get_relative_root(request), asked=asked),
        content_type="application/json",
        headers={"Model-Name": quote(version.name, safe=""), "Model-Version": version.version},
    )


def _input_checks(version: ModelVersion, *, default: str) -> str:
    """Return whose rules check the version's inputs; an unknown value of its tag counts for nothing."""
    tag = version.tags.get(_INPUT_CHECKS_TAG, default)
    return tag if tag in {"strict", _BY_MLFLOW} else default
