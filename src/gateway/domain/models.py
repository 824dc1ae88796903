"""What the catalog knows of registered models and their versions, whatever MLflow's form of it."""

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
    """Which version is best, by which metric, and what that metric is there."""

    version: str
    metric: str
    value: float
    order: Order


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model, or one run of an experiment.

    `status` is MLflow's: READY, PENDING_REGISTRATION, FAILED_REGISTRATION for a registered
    version; for a run READY where it finished with a model, else the run's own status, or
    DELETED. `uri` is where MLflow says the files are (`models:/…`, `runs:/…` or a store's), empty
    where there is no model; `model_id` is MLflow 3's logged model. Times are in UTC.
    """

    name: str
    version: str
    source: SourceKind
    status: str
    uri: str
    fingerprint: str
    run_id: str = ""
    model_id: str = ""
    stage: str = "None"
    description: str = ""
    aliases: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    created: datetime | None = None
    updated: datetime | None = None

    @cached_property
    def key(self) -> ModelKey:
        """What caches and workers are keyed by."""
        return ModelKey(self.name, self.version, self.fingerprint)


@dataclass(frozen=True, slots=True)
class Resolution:
    """Which version a `ModelRef` means now; `stale` where MLflow could not be asked again."""

    version: ModelVersion
    best: BestChoice | None = None
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Model:
    """A registered model, or an experiment where no registered model has the name."""

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
    """Some of the models, and the token that leads to the next of them."""

    models: tuple[Model, ...]
    next_page_token: str | None = None


@dataclass(frozen=True, slots=True)
class ModelDetails:
    """A model with all its versions, newest first, and what `best` would pick now."""

    model: Model
    versions: tuple[ModelVersion, ...]
    best: BestChoice | None = None


@dataclass(frozen=True, slots=True)
class RunDetails:
    """The run that made a version."""

    run_id: str
    experiment_id: str
    name: str
    status: str
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
