"""The route of a version's own OpenAPI document."""

from __future__ import annotations

from urllib.parse import quote

from aiohttp import web

from gateway.api.keys import COMPONENTS
from gateway.api.paths import get_model_ref, get_relative_root
from gateway.api.schema.document import Described
from gateway.domain.version_tags import INPUT_CHECKS


async def show_document(request: web.Request) -> web.Response:
    """GET /model/{name}/{version}/openapi.json: the schemas of the version's inputs, params and outputs."""
    ref, components = get_model_ref(request), request.app[COMPONENTS]
    details, _ = await components.details.get(ref)
    version = details.version
    checks = INPUT_CHECKS.of(version, components.settings.value.input_checks)
    document = await components.documents.get(
        Described(
            key=version.key,
            source=version.source,
            mlmodel=details.mlmodel,
            example=details.input_example,
            checks_by_mlflow=checks == "mlflow",
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
