"""MLflow's replies as small frozen values: the one place that knows its JSON by name.

A field that MLflow leaves out, or fills with something of another type, has its empty value here;
identities (a name, a version, an id) must be there, else UpstreamWrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import orjson

from gateway.mlflow_client import json_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Json = dict[str, Any]
T = TypeVar("T")

_HISTORY_TAG = "mlflow.log-model.history"


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of what was searched for, and the token that leads to the next of it."""

    items: tuple[T, ...]
    token: str = ""


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a registered model; times are milliseconds since 1970."""

    name: str
    version: str
    status: str
    source: str
    run_id: str
    model_id: str
    stage: str
    description: str
    created: int
    updated: int
    aliases: tuple[str, ...]
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A registered model; `newest` holds the newest version of each stage."""

    name: str
    description: str
    created: int
    updated: int
    aliases: Mapping[str, str]
    tags: Mapping[str, str]
    latest_versions: tuple[Version, ...]


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment; `active` is False where it was deleted."""

    experiment_id: str
    name: str
    active: bool
    created: int
    updated: int
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RunLoggedModel:
    """A model that a 2.x client logged into its run's own artifacts."""

    path: str
    created: str


@dataclass(frozen=True, slots=True)
class Run:
    """A run; `outputs` are the ids of 3.x models, `logged` the 2.x models, both as MLflow orders them."""

    run_id: str
    experiment_id: str
    name: str
    status: str
    active: bool
    started: int
    ended: int
    artifact_uri: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    outputs: tuple[str, ...]
    logged_models: tuple[RunLoggedModel, ...]


@dataclass(frozen=True, slots=True)
class LoggedModel:
    """A 3.x model of its own; `ready` is False while its files are not all there."""

    model_id: str
    experiment_id: str
    name: str
    run_id: str
    artifact_uri: str
    ready: bool
    created: int
    metrics: Mapping[str, float]


def parse_version(item: Json) -> Version:
    """From `model_version`."""
    source = json_fields.get_text(item, "source")
    return Version(
        name=json_fields.required_text(item, "name"),
        version=json_fields.required_text(item, "version"),
        status=json_fields.get_text(item, "status") or "READY",
        source=source,
        run_id=json_fields.get_text(item, "run_id"),
        model_id=json_fields.get_text(item, "model_id") or _model_id(source),
        stage=json_fields.get_text(item, "current_stage") or "None",
        description=json_fields.get_text(item, "description"),
        created=json_fields.get_integer(item, "creation_timestamp"),
        updated=json_fields.get_integer(item, "last_updated_timestamp"),
        aliases=tuple(
            sorted(alias for alias in json_fields.get_list(item, "aliases") if isinstance(alias, str))
        ),
        tags=json_fields.get_key_values(item, "tags"),
    )


def _model_id(source: str) -> str:
    name = source.removeprefix("models:/").strip("/")
    return name if source.startswith("models:/m-") and "/" not in name else ""


def parse_registered_model(item: Json) -> RegisteredModel:
    """From `registered_model`."""
    return RegisteredModel(
        name=json_fields.required_text(item, "name"),
        description=json_fields.get_text(item, "description"),
        created=json_fields.get_integer(item, "creation_timestamp"),
        updated=json_fields.get_integer(item, "last_updated_timestamp"),
        aliases={
            json_fields.get_text(entry, "alias"): json_fields.get_text(entry, "version")
            for entry in json_fields.get_objects(item, "aliases")
        },
        tags=json_fields.get_key_values(item, "tags"),
        latest_versions=tuple(
            parse_version(entry) for entry in json_fields.get_objects(item, "latest_versions")
        ),
    )


def parse_experiment(item: Json) -> Experiment:
    """From `experiment`."""
    return Experiment(
        experiment_id=json_fields.required_text(item, "experiment_id"),
        name=json_fields.required_text(item, "name"),
        active=json_fields.get_text(item, "lifecycle_stage") != "deleted",
        created=json_fields.get_integer(item, "creation_time"),
        updated=json_fields.get_integer(item, "last_update_time"),
        tags=json_fields.get_key_values(item, "tags"),
    )


def parse_run(item: Json) -> Run:
    """From `run`."""
    info, data = json_fields.get_object(item, "info"), json_fields.get_object(item, "data")
    tags = json_fields.get_key_values(data, "tags")
    outputs = (
        json_fields.get_text(entry, "model_id")
        for entry in json_fields.get_objects(json_fields.get_object(item, "outputs"), "model_outputs")
    )
    return Run(
        run_id=json_fields.get_text(info, "run_id") or json_fields.required_text(info, "run_uuid"),
        experiment_id=json_fields.required_text(info, "experiment_id"),
        name=json_fields.get_text(info, "run_name") or tags.get("mlflow.runName", ""),
        status=json_fields.get_text(info, "status"),
        active=json_fields.get_text(info, "lifecycle_stage") != "deleted",
        started=json_fields.get_integer(info, "start_time"),
        ended=json_fields.get_integer(info, "end_time"),
        artifact_uri=json_fields.get_text(info, "artifact_uri"),
        params=json_fields.get_key_values(data, "params"),
        metrics=json_fields.get_metrics(data),
        tags=tags,
        outputs=tuple(dict.fromkeys(model_id for model_id in outputs if model_id)),
        logged_models=tuple(_parse_history(tags.get(_HISTORY_TAG, ""))),
    )


def _parse_history(text: str) -> Iterator[RunLoggedModel]:
    try:
        entries = orjson.loads(text) if text else []
    except orjson.JSONDecodeError:
        # MLflow cuts long tags off; such a run still has its model, but nobody can say where.
        return
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and json_fields.get_text(entry, "artifact_path"):
            yield RunLoggedModel(
                json_fields.get_text(entry, "artifact_path"), json_fields.get_text(entry, "utc_time_created")
            )


def parse_logged_model(item: Json) -> LoggedModel:
    """From `model` of the logged-models calls."""
    info = json_fields.get_object(item, "info")
    return LoggedModel(
        model_id=json_fields.required_text(info, "model_id"),
        experiment_id=json_fields.get_text(info, "experiment_id"),
        name=json_fields.get_text(info, "name"),
        run_id=json_fields.get_text(info, "source_run_id"),
        artifact_uri=json_fields.get_text(info, "artifact_uri"),
        ready=json_fields.get_text(info, "status") in {"", "READY", "LOGGED_MODEL_READY"},
        created=json_fields.get_integer(info, "creation_timestamp_ms"),
        metrics=json_fields.get_metrics(json_fields.get_object(item, "data")),
    )


def parse_page(reply: Json, key: str, read: Callable[[Json], T]) -> Page[T]:
    """One page of a search; an empty search has neither the list nor the token."""
    return Page(
        tuple(read(item) for item in json_fields.get_objects(reply, key)),
        json_fields.get_text(reply, "next_page_token"),
    )


def parse_object(reply: Json, key: str, read: Callable[[Json], T]) -> T:
    """The one object that a reply is about."""
    return read(json_fields.get_object(reply, key))


def get_entries(reply: Json, key: str) -> list[Json]:
    """The objects of a list in a reply."""
    return json_fields.get_objects(reply, key)
