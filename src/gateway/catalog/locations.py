"""Resolves the URI of a version's files: follows MLflow's own indirections to the artifact store."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from gateway.catalog import filters
from gateway.errors import ArtifactLocationForbidden, ArtifactsNotFound, BadUpstreamResponse, NotFound
from gateway.mlflow_client import EndpointNotFound, LoggedModel, all_pages

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.mlflow_client import MlflowClient, Page, Run, Version

_MAX_INDIRECTIONS = 5
_MAX_ENCODINGS = 5
_MODEL_VERSION = re.compile(r"(?P<name>.+)/(?P<version>[1-9][0-9]{0,17})")
_PASSWORD = re.compile(r"//([^/:@\s]*):[^/\s]*@")


@dataclass(frozen=True, slots=True)
class Trail:
    """The artifact store's URI of a version's files, and MLflow's records that led there, in order."""

    uri: str
    records: tuple[Version | Run | LoggedModel, ...] = ()


async def resolve_uri(client: MlflowClient, uri: str) -> str:
    """Return the artifact store's URI for `uri`; raise what `follow` raises."""
    return (await follow(client, uri)).uri


async def follow(client: MlflowClient, uri: str) -> Trail:
    """Follow `models:/…` and `runs:/…` from `uri` to the artifact store's URI; return others unchanged.

    Raise ArtifactsNotFound if a step's target does not exist, and ArtifactLocationForbidden if a step
    does not name one fixed version, or leads out of its run.
    """
    records: list[Version | Run | LoggedModel] = []
    for _ in range(_MAX_INDIRECTIONS):
        if uri.startswith("models:/"):
            model = await _get_model(client, uri.removeprefix("models:/").strip("/"))
            records.append(model)
            uri = model.artifact_uri if isinstance(model, LoggedModel) else model.source
        elif uri.startswith("runs:/"):
            run, uri = await _resolve_run_uri(client, uri.removeprefix("runs:/").strip("/"))
            records.append(run)
        else:
            return Trail(uri, tuple(records))
        if not uri:
            raise BadUpstreamResponse("MLflow has no location for the version's files.")
    raise ArtifactLocationForbidden(
        f"The version's location refers to other models, more than {_MAX_INDIRECTIONS} times."
    )


async def _get_model(client: MlflowClient, name: str) -> LoggedModel | Version:
    try:
        if name.startswith("m-") and "/" not in name:
            return await client.get_logged_model(name)
        match = _MODEL_VERSION.fullmatch(name)
        if match is None:
            raise ArtifactLocationForbidden("The version's location names a model without a version number.")
        return await client.get_model_version(match["name"], match["version"])
    except (NotFound, EndpointNotFound) as error:
        raise ArtifactsNotFound("The model that owns the version's files does not exist.") from error


async def _resolve_run_uri(client: MlflowClient, location: str) -> tuple[Run, str]:
    run_id, _, path = location.partition("/")
    first, _, rest = path.partition("/")
    if not first:
        raise ArtifactsNotFound("The version's location names a run without a path in it.")
    if not is_plain_path(path.split("/")):
        # Stores of files would follow it to any other model, and a run's tag can hold it.
        raise ArtifactLocationForbidden("The version's location leads out of the run that it names.")
    try:
        run = await client.get_run(run_id)
    except NotFound as error:
        raise ArtifactsNotFound("The run that owns the version's files does not exist.") from error
    model = await _find_logged_model(client, run, first)
    base, inner = (run.artifact_uri, path) if model is None else (model.artifact_uri, rest)
    return run, f"{base.rstrip('/')}/{inner}".rstrip("/")


def is_plain_path(segments: Iterable[str]) -> bool:
    """Return whether no segment leads to another folder, however often it is percent-encoded."""
    return not any(_leads_elsewhere(segment) for segment in segments)


def _leads_elsewhere(segment: str) -> bool:
    for _ in range(_MAX_ENCODINGS):
        decoded, segment = segment, unquote(segment)
        if decoded == segment:
            break
    else:
        return True
    parts = set(segment.replace("\\", "/").split("/"))
    return not parts.isdisjoint({"..", "."}) or "\0" in segment


async def _find_logged_model(client: MlflowClient, run: Run, name: str) -> LoggedModel | None:
    """Return the run's newest logged model with this name; None if there is none, as on MLflow 2."""
    filter_text = filters.id_in("source_run_id", [run.run_id])

    async def page(token: str) -> Page[LoggedModel]:
        return await client.search_logged_models([run.experiment_id], filter_text, token=token)

    try:
        models = [model for model in await all_pages(page) if model.name == name] if filter_text else []
    except EndpointNotFound:
        return None
    return max(models, key=lambda model: (model.ready, model.created), default=None)


def strip_password(uri: str) -> str:
    """Return `uri` without a password before the host; keep the user, which some stores' URIs need."""
    return _PASSWORD.sub(r"//\1@", uri)
