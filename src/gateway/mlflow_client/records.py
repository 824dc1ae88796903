"""MLflow's replies as small frozen values: the one place that knows its JSON by name.

A field that MLflow leaves out, or fills with something of another type, has its empty value here;
identities (a name, a version, an id) must be there, else UpstreamWrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import orjson

from gateway.mlflow_client import fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Json = dict[str, Any]
T = TypeVar("T")

_HISTORY = "mlflow.log-model.history"


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
    newest: tuple[Version, ...]


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
class Logged:
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
    logged: tuple[Logged, ...]


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


def version(item: Json) -> Version:
    """From `model_version`."""
    source = fields.text(item, "source")
    return Version(
        name=fields.identity(item, "name"),
        version=fields.identity(item, "version"),
        status=fields.text(item, "status") or "READY",
        source=source,
        run_id=fields.text(item, "run_id"),
        model_id=fields.text(item, "model_id") or _model_id(source),
        stage=fields.text(item, "current_stage") or "None",
        description=fields.text(item, "description"),
        created=fields.integer(item, "creation_timestamp"),
        updated=fields.integer(item, "last_updated_timestamp"),
        aliases=tuple(sorted(alias for alias in fields.items(item, "aliases") if isinstance(alias, str))),
        tags=fields.texts(item, "tags"),
    )


def _model_id(source: str) -> str:
    name = source.removeprefix("models:/").strip("/")
    return name if source.startswith("models:/m-") and "/" not in name else ""


def registered_model(item: Json) -> RegisteredModel:
    """From `registered_model`."""
    return RegisteredModel(
        name=fields.identity(item, "name"),
        description=fields.text(item, "description"),
        created=fields.integer(item, "creation_timestamp"),
        updated=fields.integer(item, "last_updated_timestamp"),
        aliases={
            fields.text(entry, "alias"): fields.text(entry, "version")
            for entry in fields.objects(item, "aliases")
        },
        tags=fields.texts(item, "tags"),
        newest=tuple(version(entry) for entry in fields.objects(item, "latest_versions")),
    )


def experiment(item: Json) -> Experiment:
    """From `experiment`."""
    return Experiment(
        experiment_id=fields.identity(item, "experiment_id"),
        name=fields.identity(item, "name"),
        active=fields.text(item, "lifecycle_stage") != "deleted",
        created=fields.integer(item, "creation_time"),
        updated=fields.integer(item, "last_update_time"),
        tags=fields.texts(item, "tags"),
    )


def run(item: Json) -> Run:
    """From `run`."""
    info, data = fields.inner(item, "info"), fields.inner(item, "data")
    tags = fields.texts(data, "tags")
    outputs = (
        fields.text(entry, "model_id")
        for entry in fields.objects(fields.inner(item, "outputs"), "model_outputs")
    )
    return Run(
        run_id=fields.text(info, "run_id") or fields.identity(info, "run_uuid"),
        experiment_id=fields.identity(info, "experiment_id"),
        name=fields.text(info, "run_name") or tags.get("mlflow.runName", ""),
        status=fields.text(info, "status"),
        active=fields.text(info, "lifecycle_stage") != "deleted",
        started=fields.integer(info, "start_time"),
        ended=fields.integer(info, "end_time"),
        artifact_uri=fields.text(info, "artifact_uri"),
        params=fields.texts(data, "params"),
        metrics=fields.metrics(data),
        tags=tags,
        outputs=tuple(dict.fromkeys(model_id for model_id in outputs if model_id)),
        logged=tuple(_history(tags.get(_HISTORY, ""))),
    )


def _history(text: str) -> Iterator[Logged]:
    try:
        entries = orjson.loads(text) if text else []
    except orjson.JSONDecodeError:
        # MLflow cuts long tags off; such a run still has its model, but nobody can say where.
        return
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and fields.text(entry, "artifact_path"):
            yield Logged(fields.text(entry, "artifact_path"), fields.text(entry, "utc_time_created"))


def logged_model(item: Json) -> LoggedModel:
    """From `model` of the logged-models calls."""
    info = fields.inner(item, "info")
    return LoggedModel(
        model_id=fields.identity(info, "model_id"),
        experiment_id=fields.text(info, "experiment_id"),
        name=fields.text(info, "name"),
        run_id=fields.text(info, "source_run_id"),
        artifact_uri=fields.text(info, "artifact_uri"),
        ready=fields.text(info, "status") in {"", "READY", "LOGGED_MODEL_READY"},
        created=fields.integer(info, "creation_timestamp_ms"),
        metrics=fields.metrics(fields.inner(item, "data")),
    )


def page(reply: Json, key: str, read: Callable[[Json], T]) -> Page[T]:
    """One page of a search; an empty search has neither the list nor the token."""
    return Page(
        tuple(read(item) for item in fields.objects(reply, key)), fields.text(reply, "next_page_token")
    )


def one(reply: Json, key: str, read: Callable[[Json], T]) -> T:
    """The one object that a reply is about."""
    return read(fields.inner(reply, key))


def entries(reply: Json, key: str) -> list[Json]:
    """The objects of a list in a reply."""
    return fields.objects(reply, key)
