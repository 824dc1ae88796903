"""MLflow's registered versions and runs as the gateway's `ModelVersion`s."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.domain.models import ModelVersion
from gateway.errors import VersionNotServable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.mlflow_client import Run, Version

READY = "READY"
DESCRIPTION_TAG = "mlflow.note.content"
_PROMPT_TAG = "mlflow.prompt.is_prompt"
_MAX_TIMESTAMP_MS = 253_402_300_799_000


def to_datetime(milliseconds: int) -> datetime | None:
    """A time of MLflow's in UTC; None where there is none."""
    if not 0 < milliseconds <= _MAX_TIMESTAMP_MS:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def is_prompt(tags: Mapping[str, str]) -> bool:
    """Whether a registered model is a prompt, which has no files and predicts nothing."""
    return tags.get(_PROMPT_TAG, "").lower() == "true"


def fingerprint(*parts: str | int) -> str:
    """A short digest of what makes a version one, even where its name and number are used again."""
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()[:32]


def from_registered_version(
    version: Version, *, aliases: tuple[str, ...] | None = None, metrics: Mapping[str, float] | None = None
) -> ModelVersion:
    """One version of a registered model; `aliases` where MLflow's search left them out."""
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


def from_run(name: str, number: int, run: Run, *, model_id: str = "") -> ModelVersion:
    """Run `number` of the experiment `name`; `model_id` is the MLflow 3 model it stands for."""
    uri = f"models:/{model_id}" if model_id else _logged_uri(run)
    return ModelVersion(
        name=name,
        version=str(number),
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


def user_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that are not MLflow's own."""
    return {key: value for key, value in tags.items() if not key.startswith("mlflow.")}


def visible_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that anything of a version is told by: MLflow's own are kilobytes of others."""
    return {
        key: value for key, value in tags.items() if key == DESCRIPTION_TAG or not key.startswith("mlflow.")
    }


def is_ready(run: Run) -> bool:
    """Whether the version that the run stands for is READY."""
    return run.active and run.status == "FINISHED" and bool(run.outputs or run.logged_models)


def _logged_uri(run: Run) -> str:
    if not run.logged_models:
        return ""
    # The later of two equal times is the later in the list: a client appends.
    newest = max(enumerate(run.logged_models), key=lambda entry: (entry[1].created, entry[0]))[1]
    return f"runs:/{run.run_id}/{newest.path}"


def _status(run: Run, uri: str) -> str:
    if not run.active:
        return "DELETED"
    return READY if run.status == "FINISHED" and uri else run.status


def require_ready(version: ModelVersion) -> ModelVersion:
    """The version itself; raises NotServable saying why it cannot predict now."""
    if version.status == "DELETED":
        raise VersionNotServable(f"{_describe(version)} is a run that was deleted.")
    if require_artifacts(version).status != READY:
        raise VersionNotServable(f"{_describe(version)} is not READY: its status is {version.status}.")
    return version


def require_artifacts(version: ModelVersion) -> ModelVersion:
    """The version itself; raises NotServable where there is no model in it."""
    if not version.uri:
        raise VersionNotServable(f"{_describe(version)} has no model.")
    return version


def _describe(version: ModelVersion) -> str:
    return f"Version {version.version} of {version.name!r}"
