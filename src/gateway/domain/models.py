"""The catalog's records of models and versions, independent of MLflow's JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from workers.protocol.messages import ModelKey

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from gateway.domain.refs import Order

SourceKind = Literal["registry", "experiment"]


@dataclass(frozen=True, slots=True)
class BestChoice:
    """The best version, the metric and order that decided, and the metric's value."""

    version: str
    metric: str
    value: float
    order: Order


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model, or one run or logged model of an experiment.

    `version` is a number, or the id of a run or logged model that has none. `status` of a registered version
    is MLflow's: READY, PENDING_REGISTRATION or FAILED_REGISTRATION. A run is READY if it finished with a
    model, else it has its own status or DELETED. `uri` is MLflow's location of the files (`models:/…`,
    `runs:/…` or a store's URI), empty if there is no model. `model_id` is the id of the logged model of
    MLflow 3; `logged_name` is its own name if it is not a numbered version. Times are in UTC.
    """

    name: str
    version: str
    source: SourceKind
    status: str
    uri: str
    fingerprint: str
    run_id: str = ""
    model_id: str = ""
    logged_name: str = ""
    stage: str = "None"
    description: str = ""
    aliases: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    created: datetime | None = None
    updated: datetime | None = None

    @cached_property
    def key(self) -> ModelKey:
        """The key of the version in caches and in the worker pool."""
        return ModelKey(self.name, self.version, self.fingerprint)


@dataclass(frozen=True, slots=True)
class Resolution:
    """The version that a `ModelRef` resolves to; `stale` if MLflow did not answer in time."""

    version: ModelVersion
    best: BestChoice | None = None
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Model:
    """A registered model, or an experiment if no registered model has its name."""

    name: str
    source: SourceKind
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    latest: str | None = None
    created: datetime | None = None
    updated: datetime | None = None


@dataclass(frozen=True, slots=True)
class ModelPage:
    """One page of models, and the token of the next page, None on the last."""

    models: tuple[Model, ...]
    next_page_token: str | None = None


@dataclass(frozen=True, slots=True)
class ModelDetails:
    """A model with all its versions, newest first, and its best version.

    `without_run` has the newest logged models of an experiment that no run produced. `hides_experiment` is
    the id of an experiment with the name of this registered model, which is served in its place.
    """

    model: Model
    versions: tuple[ModelVersion, ...]
    best: BestChoice | None = None
    without_run: tuple[ModelVersion, ...] = ()
    hides_experiment: str | None = None


@dataclass(frozen=True, slots=True)
class RunDetails:
    """The run that produced a version."""

    run_id: str
    experiment_id: str
    name: str
    status: str
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
