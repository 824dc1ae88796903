"""Converts MLflow's registered versions and runs to `ModelVersion`s."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.domain.models import ModelVersion
from gateway.errors import VersionNotServable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.mlflow_client import LoggedModel, Run, Version

READY = "READY"
DELETED = "DELETED"
DESCRIPTION_TAG = "mlflow.note.content"
_MAX_TIMESTAMP_MS = 253_402_300_799_000


def to_datetime(milliseconds: int) -> datetime | None:
    """Convert a time of MLflow's (milliseconds since 1970) to UTC; return None for zero or out of range."""
    if not 0 < milliseconds <= _MAX_TIMESTAMP_MS:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def fingerprint(*parts: str | int) -> str:
    """Return a short digest that identifies a version even if its name and number are used again."""
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()[:32]


def from_registered_version(
    version: Version, *, aliases: tuple[str, ...] | None = None, metrics: Mapping[str, float] | None = None
) -> ModelVersion:
    """Convert a registered version; `aliases` replaces its own, which MLflow's search leaves out."""
    return ModelVersion(
        name=version.name,
        version=version.version,
        source="registry",
        status=version.status,
        uri=version.source,
        fingerprint=fingerprint(version.source, version.model_id or version.run_id, version.created),
        run_id=version.run_id,
        model_id=version.model_id,
        stage=version.stage,
        description=version.description,
        aliases=version.aliases if aliases is None else aliases,
        tags=version.tags,
        metrics=metrics or {},
        created=to_datetime(version.created),
        updated=to_datetime(version.updated),
    )


def from_run(name: str, version: str, run: Run, *, model_id: str = "", folder: str = "") -> ModelVersion:
    """Convert the run that is `version` of the experiment `name`.

    `model_id` is the id of its MLflow 3 model, if any. `folder` is the URI of a model among its artifacts,
    which counts if MLflow knows no model of the run.
    """
    uri = f"models:/{model_id}" if model_id else _logged_uri(run) or folder
    return ModelVersion(
        name=name,
        version=version,
        source="experiment",
        status=_status(run, uri),
        uri=uri,
        fingerprint=fingerprint(uri, model_id or run.run_id, run.started),
        run_id=run.run_id,
        model_id=model_id,
        description=run.tags.get(DESCRIPTION_TAG, ""),
        tags=user_tags(run.tags),
        metrics=run.metrics,
        created=to_datetime(run.started),
        updated=to_datetime(run.ended),
    )


def from_logged_model(name: str, model: LoggedModel, metrics: Mapping[str, float]) -> ModelVersion:
    """Convert a logged model of the experiment `name` that is no numbered version; its id is its version."""
    uri = "" if model.external else f"models:/{model.model_id}"
    return ModelVersion(
        name=name,
        version=model.model_id,
        source="experiment",
        status=model.status,
        uri=uri,
        fingerprint=fingerprint(uri, model.model_id, model.created),
        run_id=model.run_id,
        model_id=model.model_id,
        logged_name=model.name,
        description=model.tags.get(DESCRIPTION_TAG, ""),
        tags=user_tags(model.tags),
        metrics=metrics,
        created=to_datetime(model.created),
        updated=to_datetime(model.updated),
    )


def user_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags without MLflow's own."""
    return {key: value for key, value in tags.items() if not key.startswith("mlflow.")}


def visible_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the user tags and the description; MLflow's other tags can be kilobytes."""
    return {
        key: value for key, value in tags.items() if key == DESCRIPTION_TAG or not key.startswith("mlflow.")
    }


def is_ready(run: Run) -> bool:
    """Return whether the run as a version is READY."""
    return run.active and run.status == "FINISHED" and bool(run.outputs or run.logged_models)


def is_undecided(run: Run) -> bool:
    """Return whether the run is READY only if a model is found among its artifacts."""
    return run.active and run.status == "FINISHED" and not (run.outputs or run.logged_models)


def _logged_uri(run: Run) -> str:
    if not run.logged_models:
        return ""
    # If two times are equal, the later entry is newer: clients append.
    newest = max(enumerate(run.logged_models), key=lambda entry: (entry[1].created, entry[0]))[1]
    return f"runs:/{run.run_id}/{newest.path}"


def _status(run: Run, uri: str) -> str:
    if not run.active:
        return DELETED
    return READY if run.status == "FINISHED" and uri else run.status


def require_ready(version: ModelVersion) -> ModelVersion:
    """Return the version if it can be served; raise VersionNotServable with the reason if not."""
    if version.status == DELETED:
        raise VersionNotServable(f"{_describe(version)} is a deleted run.")
    if require_artifacts(version).status != READY:
        raise VersionNotServable(f"{_describe(version)} is not READY: its status is {version.status}.")
    return version


def require_artifacts(version: ModelVersion) -> ModelVersion:
    """Return the version if it has a model; raise VersionNotServable if not."""
    if not version.uri:
        raise VersionNotServable(f"{_describe(version)} has no model.")
    return version


def _describe(version: ModelVersion) -> str:
    return f"Version {version.version} of {version.name!r}"
