"""The routes that `mlflow.deployments.get_deploy_client("http://…")` calls: endpoints and their names.

An endpoint is a model, or with `/` and a version behind its name, that version. `predict` of that client
calls `/endpoints/{name}/invocations`, which is in `scoring.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from gateway.api import responses
from gateway.api.handlers.models import find_models
from gateway.api.paths import get_model_name
from gateway.api.resolved import resolve_version

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.api.schemas import JsonObject

_PAGE_SIZE: Final = 1000
_TYPE: Final = "mlflow/pyfunc"
_PROVIDER: Final = "mlflow"
_PLAIN: Final = "".join(char for char in map(chr, range(32, 127)) if char not in "%/?#\\")
"""What the client's `predict` puts into a path as it is, or encodes itself."""


async def list_endpoints(request: web.Request) -> web.Response:
    """GET /api/2.0/endpoints: a page of the models that have a READY version."""
    token = request.query.get("page_token") or None
    page = await find_models(request, max_results=_PAGE_SIZE, page_token=token, name_contains="")
    document: JsonObject = {
        "endpoints": [_endpoint(model.name) for model in page.models if model.latest is not None]
    }
    if page.next_page_token:
        document["next_page_token"] = page.next_page_token
    return responses.json_response(document)


async def show_endpoint(request: web.Request) -> web.Response:
    """GET /api/2.0/endpoints/{name}[/{version}]: one endpoint, if its version is READY."""
    await resolve_version(request)
    return responses.json_response(_endpoint(get_model_name(request), request.match_info.get("version", "")))


def _endpoint(name: str, version: str = "") -> JsonObject:
    """Return an endpoint in the form of `mlflow.deployments.server.config.Endpoint`.

    Its name is what the client's other methods take, so what cannot stand in a path is percent-encoded.
    """
    suffix = f"/{version}" if version else ""
    return {
        "name": f"{quote(name, safe=_PLAIN)}{suffix}",
        "endpoint_type": _TYPE,
        "model": {"name": name, "provider": _PROVIDER},
        "endpoint_url": f"/endpoints/{quote(name, safe='')}{suffix}/invocations",
        "limit": None,
    }
