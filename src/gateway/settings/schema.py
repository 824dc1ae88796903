"""The gateway's own settings."""

from __future__ import annotations

import sys
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from gateway.settings.types import (
    AbsoluteFolders,
    ExpandedPath,
    NonNegativeSeconds,
    PinnedRefs,
    PositiveInt,
    PositiveSeconds,
    SettingsGroup,
    UriSchemes,
    default_cache_folder,
)
from gateway.settings.upstream import MlflowSettings, S3Settings


class Settings(SettingsGroup):
    """The gateway's own settings, and those it shares with MLflow's client and AWS's."""

    host: str = Field(
        "127.0.0.1",
        alias="GATEWAY_HOST",
        min_length=1,
        description="The address to listen on; 0.0.0.0 for all (so in the container).",
    )
    port: int = Field(
        8080,
        alias="GATEWAY_PORT",
        ge=0,
        le=65535,
        description="The port to listen on; 80 in the container; 0: any that is free.",
    )
    workers_per_model: PositiveInt = Field(
        1,
        alias="GATEWAY_WORKERS_PER_MODEL",
        description="Warm processes of one model version, in each gateway process.",
    )
    max_loaded_models: PositiveInt = Field(
        20,
        alias="GATEWAY_MAX_LOADED_MODELS",
        description="Model versions loaded at a time, shared out evenly among the gateway processes; the "
        "least recently used goes first.",
    )
    memory_budget_bytes: PositiveInt | None = Field(
        None,
        alias="GATEWAY_MEMORY_BUDGET_BYTES",
        description="Memory (PSS) that the gateway and all models may take, shared out evenly among the "
        "gateway processes; the least recently used model goes first. By default 80 % of what the machine "
        "or its control group has.",
    )
    processes: PositiveInt = Field(
        1,
        alias="GATEWAY_PROCESSES",
        description="Gateway processes on the one port, each with models and workers of its own; more than "
        "one needs Linux.",
    )
    idle_seconds: NonNegativeSeconds = Field(
        900,
        alias="GATEWAY_IDLE_SECONDS",
        description="A model that nobody asked for so long is unloaded; 0: never.",
    )
    pinned_models: PinnedRefs = Field(
        (),
        alias="GATEWAY_PINNED_MODELS",
        description="Loaded before the gateway is ready and kept: `wine@champion, forest/2`.",
    )
    cache_dir: ExpandedPath = Field(
        default_factory=default_cache_folder,
        alias="GATEWAY_CACHE_DIR",
        description="The folder for downloaded models; by default below XDG_CACHE_HOME where that is set.",
    )
    cache_max_bytes: PositiveInt = Field(
        20 * 2**30,
        alias="GATEWAY_CACHE_MAX_BYTES",
        description="What that folder may hold; the least recently used goes first.",
    )
    artifact_schemes: UriSchemes = Field(
        ("mlflow-artifacts", "s3"),
        alias="GATEWAY_ARTIFACT_SCHEMES",
        description="Where models may be read from, by URI scheme; `file` needs a root too.",
    )
    artifact_roots: AbsoluteFolders = Field(
        (),
        validate_default=True,
        alias="GATEWAY_ARTIFACT_ROOTS",
        description="Absolute folders that `file:` models may lie in, comma-separated.",
    )
    catalog_ttl_seconds: NonNegativeSeconds = Field(
        5,
        alias="GATEWAY_CATALOG_TTL_SECONDS",
        description="How long an answer of MLflow's is used before it is asked again.",
    )
    request_timeout_seconds: PositiveSeconds = Field(
        60,
        alias="GATEWAY_REQUEST_TIMEOUT_SECONDS",
        description="What a prediction may take, from the moment its model is warm.",
    )
    stream_timeout_seconds: NonNegativeSeconds = Field(
        600,
        alias="GATEWAY_STREAM_TIMEOUT_SECONDS",
        description="What a stream may take; each chunk of it may take what a prediction may. 0: no limit.",
    )
    load_timeout_seconds: PositiveSeconds = Field(
        300,
        alias="GATEWAY_LOAD_TIMEOUT_SECONDS",
        description="What loading a model may take, once its files are here.",
    )
    max_queue: PositiveInt = Field(
        1024,
        alias="GATEWAY_MAX_QUEUE",
        description="Requests that may wait for one model version in each gateway process; then: 503.",
    )
    max_body_bytes: PositiveInt = Field(
        64 * 2**20, alias="GATEWAY_MAX_BODY_BYTES", description="The largest request body, decompressed."
    )
    max_bodies_bytes: PositiveInt = Field(
        256 * 2**20,
        alias="GATEWAY_MAX_BODIES_BYTES",
        description="What the request bodies held at once may come to in each gateway process, though one of "
        "GATEWAY_MAX_BODY_BYTES always fits; then: 503. As many bytes of answers may wait to be taken.",
    )
    upload_timeout_seconds: PositiveSeconds = Field(
        120,
        alias="GATEWAY_UPLOAD_TIMEOUT_SECONDS",
        description="How long a client may take to send a request's body; then: 408.",
    )
    idle_connection_seconds: PositiveSeconds = Field(
        75,
        alias="GATEWAY_IDLE_CONNECTION_SECONDS",
        description="A connection is closed that has sent no whole head of a request for so long, or whose "
        "client takes nothing of its answer.",
    )
    batching: Literal["auto", "on", "off"] = Field(
        "auto",
        alias="GATEWAY_BATCHING",
        description=(
            "Whether rows of several requests are predicted by one call: auto, where that is proven harmless;"
            " on, where nothing shows harm; off, never. A version's tag gateway.batching wins."
        ),
    )
    input_checks: Literal["strict", "mlflow"] = Field(
        "strict",
        alias="GATEWAY_INPUT_CHECKS",
        description=(
            "strict refuses what would be changed silently; mlflow does as MLflow does."
            " A version's tag gateway.input_checks wins."
        ),
    )
    best_metric: str = Field(
        "",
        alias="GATEWAY_BEST_METRIC",
        description="The metric that decides `best` where neither request nor model names one.",
    )
    best_order: Literal["", "min", "max"] = Field(
        "", alias="GATEWAY_BEST_ORDER", description="min or max: which end of that metric is best."
    )
    model_error_text: bool = Field(
        default=False,
        alias="GATEWAY_MODEL_ERROR_TEXT",
        description="true: a model's own error message reaches the client; it may hold data.",
    )
    drain_seconds: PositiveSeconds = Field(
        30,
        alias="GATEWAY_DRAIN_SECONDS",
        description="How long running requests may finish after a signal to stop.",
    )
    grace_seconds: NonNegativeSeconds = Field(
        2,
        alias="GATEWAY_GRACE_SECONDS",
        description="How long, as a part of that, the gateway still takes new requests after SIGTERM, while "
        "it says that it is not ready, so that load balancers notice; 0: not at all. By default never more "
        "than half of it.",
    )
    preload: Literal["full", "lean", "none"] = Field(
        "full",
        alias="GATEWAY_PRELOAD",
        description="TODO",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", alias="GATEWAY_LOG_LEVEL", description="debug, info, warning or error."
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", alias="GATEWAY_LOG_FORMAT", description="auto (text on a terminal, else json), json or text."
    )
    mlflow: MlflowSettings = Field(default_factory=MlflowSettings)
    s3: S3Settings = Field(default_factory=S3Settings)
    environment: dict[str, str] = Field(default_factory=dict, repr=False)

    @property
    def loaded_models_per_process(self) -> int:
        """How many model versions one of the processes may have loaded."""
        return self.max_loaded_models // self.processes

    @property
    def body_memory_bytes(self) -> int:
        """What the bodies held at once may come to, one at least; and so the answers that wait."""
        return max(self.max_bodies_bytes, self.max_body_bytes)

    @property
    def effective_grace_seconds(self) -> float:
        """`grace_seconds`, a part of `drain_seconds`: where nobody chose them, half of these at most."""
        chosen = "grace_seconds" in self.model_fields_set
        return min(self.grace_seconds, self.drain_seconds if chosen else self.drain_seconds / 2)

    # Validators of single fields, which see those before them that are right: a validator of the whole
    # would not run where any other field is wrong, and its problem would stay unsaid.

    @field_validator("processes")
    @classmethod
    def _check_processes(cls, processes: int, info: ValidationInfo) -> int:
        if processes > 1 and sys.platform != "linux":
            raise ValueError("is more than 1, but only Linux spreads connections over several processes")
        models = info.data.get("max_loaded_models", processes)
        if processes > models:
            raise ValueError(f"is {processes}, but GATEWAY_MAX_LOADED_MODELS is {models}: each needs one")
        return processes

    @field_validator("pinned_models")
    @classmethod
    def _check_pinned_models(cls, pins: PinnedRefs, info: ValidationInfo) -> PinnedRefs:
        models, processes = info.data.get("max_loaded_models", len(pins)), info.data.get("processes", 1)
        if len(pins) > models:
            raise ValueError(f"names {len(pins)} models, but GATEWAY_MAX_LOADED_MODELS is {models}")
        if len(pins) > (share := models // processes):
            whole = f"GATEWAY_MAX_LOADED_MODELS={models}"
            raise ValueError(
                f"names {len(pins)} models, but of {whole} each of {processes} GATEWAY_PROCESSES has {share}"
            )
        return pins

    @field_validator("grace_seconds")
    @classmethod
    def _check_grace_seconds(cls, grace: float, info: ValidationInfo) -> float:
        drain = info.data.get("drain_seconds", grace)
        if grace > drain:
            raise ValueError(f"is {grace:g}, but GATEWAY_DRAIN_SECONDS, of which it is a part, is {drain:g}")
        return grace

    @field_validator("artifact_roots")
    @classmethod
    def _check_artifact_roots(cls, roots: AbsoluteFolders, info: ValidationInfo) -> AbsoluteFolders:
        if not roots and "file" in info.data.get("artifact_schemes", ()):
            raise ValueError("names no folder, but GATEWAY_ARTIFACT_SCHEMES allows file")
        return roots
