"""The version that a request's path resolves to, for routes that tell of it and do not predict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.api.keys import COMPONENTS
from gateway.api.paths import get_model_ref
from workers.errors import ModelLoadError

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.domain.models import ModelVersion
    from workers.pool.status import ModelStatus


async def resolve_version(request: web.Request) -> ModelVersion:
    """Return the READY version that the path names, which is the latest if it names none.

    Raise what `Catalog.resolve` raises. It loads nothing.
    """
    ref, catalog = get_model_ref(request), request.app[COMPONENTS].catalog
    return (catalog.resolve_cached(ref) or await catalog.resolve(ref)).version


async def answering_version(request: web.Request) -> tuple[ModelVersion, ModelStatus]:
    """Return the version and its state if a prediction would be answered now, if need be after a load.

    Raise what `resolve_version` raises, and ModelLoadError while the backoff after a failed load lasts.
    """
    version = await resolve_version(request)
    status = request.app[COMPONENTS].engine.status(version.key)
    if status.state == "failed":
        raise ModelLoadError(status.reason or "The model could not be loaded.")
    return version, status
