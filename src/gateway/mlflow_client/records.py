"""MLflow's responses as small frozen records; only this module knows the field names of its JSON.

A field that is missing or of another type has its empty value. Names, version numbers and ids are
required: without one, parsing raises BadUpstreamResponse.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import orjson

from gateway.mlflow_client import json_fields, metric_points

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gateway.mlflow_client.metric_points import MetricPoint

Json = dict[str, Any]
T = TypeVar("T")

_HISTORY_TAG = "mlflow.log-model.history"
_VERSIONS_TAG = "mlflow.modelVersions"
_PROMPT_TAG = "mlflow.prompt.is_prompt"
_EXTERNAL_TAG = "mlflow.model.isExternal"


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of search results, and the token of the next page, empty on the last."""

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
    """A registered model; `latest_versions` has the newest version of each stage."""

    name: str
    description: str
    created: int
    updated: int
    aliases: Mapping[str, str]
    tags: Mapping[str, str]
    latest_versions: tuple[Version, ...]

    @property
    def is_prompt(self) -> bool:
        """Whether it is a prompt, which has no files."""
        return self.tags.get(_PROMPT_TAG, "").lower() == "true"


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment; `active` is False if it was deleted."""

    experiment_id: str
    name: str
    active: bool
    created: int
    updated: int
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RunLoggedModel:
    """A model that an MLflow 2 client logged into its run's artifacts."""

    path: str
    created: str


@dataclass(frozen=True, slots=True)
class Run:
    """A run; `outputs` has the ids of its MLflow 3 models, `logged_models` its MLflow 2 models.

    `points` has the times and steps of `metrics`.
    """

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
    points: Mapping[str, MetricPoint] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LoggedModel:
    """A logged model of MLflow 3; `status` is READY once all its files are uploaded.

    `run_id` is empty if it was logged outside of a run. `external` is True if MLflow has no files of it.
    """

    model_id: str
    experiment_id: str
    name: str
    run_id: str
    artifact_uri: str
    status: str
    created: int
    points: Mapping[str, MetricPoint]
    updated: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)
    external: bool = False

    @property
    def ready(self) -> bool:
        """Whether all files are uploaded."""
        return self.status == "READY"

    @property
    def registered_as(self) -> frozenset[tuple[str, str]]:
        """The names and numbers of the registered versions that MLflow made of this model."""
        try:
            entries = orjson.loads(self.tags.get(_VERSIONS_TAG, "[]"))
        except orjson.JSONDecodeError:
            return frozenset()
        objects = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
        return frozenset(
            (json_fields.get_text(entry, "name"), str(entry.get("version", ""))) for entry in objects
        )


def parse_version(item: Json) -> Version:
    """Parse a `model_version` object."""
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
    """Parse a `registered_model` object."""
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
    """Parse an `experiment` object."""
    return Experiment(
        experiment_id=json_fields.required_text(item, "experiment_id"),
        name=json_fields.required_text(item, "name"),
        active=json_fields.get_text(item, "lifecycle_stage") != "deleted",
        created=json_fields.get_integer(item, "creation_time"),
        updated=json_fields.get_integer(item, "last_update_time"),
        tags=json_fields.get_key_values(item, "tags"),
    )


def parse_run(item: Json) -> Run:
    """Parse a `run` object."""
    info, data = json_fields.get_object(item, "info"), json_fields.get_object(item, "data")
    tags = json_fields.get_key_values(data, "tags")
    outputs = (
        json_fields.get_text(entry, "model_id")
        for entry in json_fields.get_objects(json_fields.get_object(item, "outputs"), "model_outputs")
    )
    points = metric_points.newest_of_run(data)
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
        metrics={key: point.value for key, point in points.items()},
        tags=tags,
        outputs=tuple(dict.fromkeys(model_id for model_id in outputs if model_id)),
        logged_models=tuple(_parse_history(tags.get(_HISTORY_TAG, ""))),
        points=points,
    )


def _parse_history(text: str) -> Iterator[RunLoggedModel]:
    try:
        entries = orjson.loads(text) if text else []
    except orjson.JSONDecodeError:
        # MLflow truncates long tags; the path of such a run's model is lost.
        return
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and json_fields.get_text(entry, "artifact_path"):
            yield RunLoggedModel(
                json_fields.get_text(entry, "artifact_path"), json_fields.get_text(entry, "utc_time_created")
            )


def parse_logged_model(item: Json) -> LoggedModel:
    """Parse a `model` object of the logged-models endpoints."""
    info = json_fields.get_object(item, "info")
    tags = json_fields.get_key_values(info, "tags")
    status = json_fields.get_text(info, "status").removeprefix("LOGGED_MODEL_")
    return LoggedModel(
        model_id=json_fields.required_text(info, "model_id"),
        experiment_id=json_fields.get_text(info, "experiment_id"),
        name=json_fields.get_text(info, "name"),
        run_id=json_fields.get_text(info, "source_run_id"),
        artifact_uri=json_fields.get_text(info, "artifact_uri"),
        status=status or "READY",
        created=json_fields.get_integer(info, "creation_timestamp_ms"),
        points=metric_points.newest_of_model(json_fields.get_object(item, "data")),
        updated=json_fields.get_integer(info, "last_updated_timestamp_ms"),
        tags=tags,
        external=tags.get(_EXTERNAL_TAG, "").lower() == "true",
    )


def parse_page(response: Json, key: str, parse: Callable[[Json], T]) -> Page[T]:
    """Parse one page of a search; an empty result has neither the list nor the token."""
    return Page(
        tuple(parse(item) for item in json_fields.get_objects(response, key)),
        json_fields.get_text(response, "next_page_token"),
    )


def parse_object(response: Json, key: str, parse: Callable[[Json], T]) -> T:
    """Parse the object at `key`."""
    return parse(json_fields.get_object(response, key))
