"""The gateway's own settings."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationInfo, field_validator

from gateway.domain.refs import Alias, format_ref, is_possible_registered_name
from gateway.settings.auth import AuthSettings
from gateway.settings.browser import BrowserSettings
from gateway.settings.client_files import ClientFiles
from gateway.settings.environments import EnvironmentSettings
from gateway.settings.fleet import FleetSettings, NodeSettings
from gateway.settings.jwt import JwtSettings
from gateway.settings.model_access import ModelAccessSettings
from gateway.settings.ray import RaySettings
from gateway.settings.readable_folders import ReadableFolders, check_readable
from gateway.settings.tls import TlsSettings
from gateway.settings.types import (
    AbsoluteFolders,
    CacheKey,
    ConsoleMode,
    ExpandedPath,
    Hosts,
    NameSources,
    NonNegativeSeconds,
    PinnedRefs,
    PositiveInt,
    PositiveSeconds,
    Reloadable,
    SettingsGroup,
    SourceCheck,
    UriSchemes,
    default_cache_folder,
)
from gateway.settings.upstream import MlflowSettings, S3Settings
from workers.limits import Preload
from workers.wall.policy import WallMode, WallNetwork

if TYPE_CHECKING:
    from pathlib import Path


class Settings(SettingsGroup):
    """The gateway's own settings, with those of MLflow's and AWS's clients as parts.

    `environment` has the names and values that the settings were read from; `from_file` names those of them
    that the `.env` file gave. `service_links` names the
    variables that Kubernetes set for Services, which are left out there. `client_files` has the files of the
    user that the stores' clients may read.
    """

    hosts: Hosts = Field(
        ("127.0.0.1",),
        alias="GATEWAY_HOST",
        description="Addresses or host names to listen on, comma-separated. 0.0.0.0 listens on all "
        "interfaces, as in the container image; :: also, by IPv6 and IPv4. If an IPv4 address is listed "
        "too, :: is IPv6 only.",
    )
    port: int = Field(
        8080,
        # The second name cannot be a service link, which would hide the port of the image's environment.
        validation_alias=AliasChoices("GATEWAY_PORT", "GATEWAY_PORT_DEFAULT"),
        ge=0,
        le=65535,
        description="TCP port to listen on; 80 in the container image. 0: any free port.",
    )
    workers_per_model: PositiveInt = Field(
        1,
        alias="GATEWAY_WORKERS_PER_MODEL",
        description="Worker processes of each loaded model version.",
    )
    max_loaded_models: Reloadable[PositiveInt] = Field(
        20,
        alias="GATEWAY_MAX_LOADED_MODELS",
        description="Most model versions loaded at once. Beyond that, the least recently used version is "
        "unloaded.",
    )
    memory_budget_bytes: Reloadable[PositiveInt | None] = Field(
        None,
        alias="GATEWAY_MEMORY_BUDGET_BYTES",
        description="Most memory (PSS) for the gateway and all loaded models, in bytes; several gateway "
        "processes take 40 to 60 MiB each beside it. Beyond that, the least recently used model is unloaded. "
        "Default: 80 % of the memory of the machine or of its control group.",
    )
    processes: PositiveInt = Field(
        1,
        alias="GATEWAY_PROCESSES",
        description="Gateway processes that share the port. If there is more than one, which needs Linux, "
        "one more process holds the models for all of them.",
    )
    preload: Preload = Field(
        "full",
        alias="GATEWAY_PRELOAD",
        description="What is imported once, before workers are forked. full: MLflow and the libraries of "
        "common models; lean: MLflow and pandas; none: nothing, so that each worker imports what it needs. "
        "That takes 200, 125 or 10 MiB at first, and each worker of a small scikit-learn model 20, 85 or "
        "165 MiB and 0.1, 1 or 2.5 s of CPU time to load (of a small Python model 15, 15 or 115 MiB and "
        "0.02, 0.02 or 1.3 s).",
    )
    idle_seconds: Reloadable[NonNegativeSeconds] = Field(
        900,
        alias="GATEWAY_IDLE_SECONDS",
        description="Unload a model after this many seconds without a request. 0: never.",
    )
    pinned_models: Reloadable[PinnedRefs] = Field(
        (),
        alias="GATEWAY_PINNED_MODELS",
        description="Models to load before the gateway is ready, and to keep loaded, comma-separated, by "
        "version number, alias, or id of a logged model or run: `wine@champion, forest/2`.",
    )
    cache_dir: ExpandedPath = Field(
        default_factory=default_cache_folder,
        alias="GATEWAY_CACHE_DIR",
        description="Folder for downloaded models. The default is below XDG_CACHE_HOME if that is set.",
    )
    cache_max_bytes: PositiveInt = Field(
        20 * 2**30,
        alias="GATEWAY_CACHE_MAX_BYTES",
        description="Most bytes in the cache folder. Beyond that, the least recently used model that is not "
        "loaded is deleted.",
    )
    cache_key: CacheKey = Field(
        SecretStr(""),
        alias="GATEWAY_CACHE_KEY",
        description="Secret of at least 32 random characters with which the gateway signs the list of a "
        "cached model's files. If set, files in GATEWAY_CACHE_DIR that were not put there with this key are "
        "not served but downloaded again, also after a restart. Gateways that share the folder need the same "
        "key. It must not be in a file that model code can read.",
    )
    artifact_schemes: UriSchemes = Field(
        ("mlflow-artifacts", "s3"),
        alias="GATEWAY_ARTIFACT_SCHEMES",
        description="URI schemes that models may be downloaded from, comma-separated. `file` also needs "
        "GATEWAY_ARTIFACT_ROOTS.",
    )
    artifact_roots: AbsoluteFolders = Field(
        (),
        validate_default=True,
        alias="GATEWAY_ARTIFACT_ROOTS",
        description="Folders that models with a `file:` URI may be in: absolute paths, comma-separated.",
    )
    worker_wall: WallMode = Field(
        "auto",
        alias="GATEWAY_WORKER_WALL",
        description="How model code is kept from other files and processes. auto: as far as this kernel can, "
        "which the log says at the start; require: refuse to start if anything is missing; off: not at all.",
    )
    worker_network: WallNetwork = Field(
        "all",
        alias="GATEWAY_WORKER_NETWORK",
        description="What model code reaches by network. all: what this machine reaches, itself included; "
        "none: nothing. Local sockets are closed to it either way.",
    )
    worker_readable: ReadableFolders = Field(
        (),
        alias="GATEWAY_WORKER_READABLE",
        description="Folders that model code may read, separated by colons, beside its own files and the "
        "system's libraries: `/srv/huggingface:/opt/data`. Not the home folder, nor what contains it.",
    )
    gpus: Literal["auto", "off"] = Field(
        "auto",
        alias="GATEWAY_GPUS",
        description="Which GPUs models with the tag gateway.gpu may have. auto: those that nvidia-smi lists, "
        "or of these the ones in CUDA_VISIBLE_DEVICES; other models then see none. off: none, and what "
        "models see is left as it is.",
    )
    sources: NameSources = Field(
        ("registry", "experiments"),
        alias="GATEWAY_SOURCES",
        description="Whose names are served, comma-separated. registry: registered models; experiments: the "
        "models of an experiment's runs, by the experiment's name. If both, a registered model hides an "
        "experiment with its name.",
    )
    source_check: SourceCheck = Field(
        "warn",
        alias="GATEWAY_SOURCE_CHECK",
        description="Whether the files of a version must be those of its own run or logged model in MLflow. "
        "own: versions with files anywhere else are refused; warn: they are served, and a line in the log "
        "says so; off: anything that GATEWAY_ARTIFACT_SCHEMES allows is served. The default is own where "
        "callers have rights by model (GATEWAY_AUTH): files of another model would be a way round them.",
    )
    catalog_ttl_seconds: Reloadable[NonNegativeSeconds] = Field(
        5,
        alias="GATEWAY_CATALOG_TTL_SECONDS",
        description="How long an answer from MLflow is used before MLflow is asked again, in seconds. A "
        "moved alias or a new version is noticed within this time.",
    )
    request_timeout_seconds: Reloadable[PositiveSeconds] = Field(
        60,
        alias="GATEWAY_REQUEST_TIMEOUT_SECONDS",
        description="Longest time for one prediction, in seconds, once the model is loaded.",
    )
    stream_timeout_seconds: Reloadable[NonNegativeSeconds] = Field(
        600,
        alias="GATEWAY_STREAM_TIMEOUT_SECONDS",
        description="Longest time for a stream, in seconds; each chunk has the limit of a prediction. 0: no "
        "limit.",
    )
    load_timeout_seconds: Reloadable[PositiveSeconds] = Field(
        300,
        alias="GATEWAY_LOAD_TIMEOUT_SECONDS",
        description="Longest time to load a model, in seconds, once its files are downloaded. The "
        "process that starts the workers of a Python environment may take as long to start itself.",
    )
    max_queue: Reloadable[PositiveInt] = Field(
        1024,
        alias="GATEWAY_MAX_QUEUE",
        description="Most requests that wait for one model version. Further requests are answered with 503.",
    )
    max_body_bytes: PositiveInt = Field(
        64 * 2**20,
        alias="GATEWAY_MAX_BODY_BYTES",
        description="Largest request body, in bytes after decompression. Larger ones are answered with 413.",
    )
    max_bodies_bytes: PositiveInt = Field(
        256 * 2**20,
        alias="GATEWAY_MAX_BODIES_BYTES",
        description="Most bytes of all request bodies held at once, in each gateway process. Further "
        "requests are answered with 503. One body of GATEWAY_MAX_BODY_BYTES always fits. The "
        "same number limits the bytes of responses that clients have not read yet. Answers of more than "
        "1 MiB count too, from their arrival until their clients have read them; half of the number is for "
        "request bodies alone. An answer that does not fit waits for up to 10 seconds; then its request is "
        "answered with 503. A single one always fits.",
    )
    max_answer_bytes: Reloadable[PositiveInt] = Field(
        256 * 2**20,
        alias="GATEWAY_MAX_ANSWER_BYTES",
        description="Largest answer of a model, and largest chunk of a stream, in bytes before compression. "
        "Larger ones are answered with 406. Answers that are computed in one batch are computed again one by "
        "one if they are larger together.",
    )
    upload_timeout_seconds: PositiveSeconds = Field(
        120,
        alias="GATEWAY_UPLOAD_TIMEOUT_SECONDS",
        description="Longest time for a client to send a request body, in seconds. Slower requests are "
        "answered with 408.",
    )
    idle_connection_seconds: PositiveSeconds = Field(
        75,
        alias="GATEWAY_IDLE_CONNECTION_SECONDS",
        description="Close a connection after this many seconds without a complete request head, or if its "
        "client reads nothing of a response for as long.",
    )
    batching: Reloadable[Literal["auto", "on", "off"]] = Field(
        "auto",
        alias="GATEWAY_BATCHING",
        description="Whether one call predicts the rows of several requests. auto: if that is proven not to "
        "change predictions; on: unless it is found to change them; off: never. A version's tag "
        "gateway.batching wins.",
    )
    input_checks: Reloadable[Literal["strict", "mlflow"]] = Field(
        "strict",
        alias="GATEWAY_INPUT_CHECKS",
        description="strict: reject values that MLflow would change silently; mlflow: convert them as "
        "MLflow does. A version's tag gateway.input_checks wins.",
    )
    best_metric: Reloadable[str] = Field(
        "",
        alias="GATEWAY_BEST_METRIC",
        description="Metric that decides which version is `best`, if neither the request nor the model "
        "names one.",
    )
    best_order: Reloadable[Literal["", "min", "max"]] = Field(
        "",
        alias="GATEWAY_BEST_ORDER",
        description="Whether the lowest (min) or the highest (max) value of that metric is best.",
    )
    model_error_text: Reloadable[bool] = Field(
        default=False,
        alias="GATEWAY_MODEL_ERROR_TEXT",
        description="true: send a model's own error message to the client. It may contain data.",
    )
    drain_seconds: Reloadable[PositiveSeconds] = Field(
        30,
        alias="GATEWAY_DRAIN_SECONDS",
        description="Longest time for running requests to finish after a signal to stop, in seconds.",
    )
    grace_seconds: Reloadable[NonNegativeSeconds] = Field(
        2,
        alias="GATEWAY_GRACE_SECONDS",
        description="After SIGTERM, the seconds (a part of the drain time) in which the gateway still "
        "accepts requests but reports that it is not ready, so that load balancers notice. 0: "
        "none. The default is at most half of the drain time.",
    )
    log_level: Reloadable[Literal["debug", "info", "warning", "error"]] = Field(
        "info",
        alias="GATEWAY_LOG_LEVEL",
        description="Lowest level that is logged: debug, info, warning or error.",
    )
    log_format: Reloadable[Literal["auto", "json", "text"]] = Field(
        "auto",
        alias="GATEWAY_LOG_FORMAT",
        description="Form of the log: json, text, or auto (text on a terminal, else json).",
    )
    console: ConsoleMode = Field(
        "read",
        alias="GATEWAY_CONSOLE",
        description="The pages for people at / and /ui. read: they show models, events and the gateway, and "
        "let people try a model; full: they also have buttons that load and unload models, for callers who "
        "may manage them; off: there are none.",
    )
    auth: AuthSettings = Field(default_factory=AuthSettings)
    jwt: JwtSettings = Field(default_factory=JwtSettings)
    tls: TlsSettings = Field(default_factory=TlsSettings)
    browser: BrowserSettings = Field(default_factory=BrowserSettings)
    model_access: ModelAccessSettings = Field(default_factory=ModelAccessSettings)
    environments: EnvironmentSettings = Field(default_factory=EnvironmentSettings)
    fleet: FleetSettings = Field(default_factory=FleetSettings)
    node: NodeSettings = Field(default_factory=NodeSettings)
    ray: RaySettings = Field(default_factory=RaySettings)
    mlflow: MlflowSettings = Field(default_factory=MlflowSettings)
    s3: S3Settings = Field(default_factory=S3Settings)
    environment: dict[str, str] = Field(default_factory=dict, repr=False)
    from_file: frozenset[str] = frozenset()
    service_links: tuple[str, ...] = ()
    client_files: ClientFiles = Field(default_factory=ClientFiles)

    @property
    def environments_dir(self) -> Path:
        """The folder for environments of model versions: below the cache's if the operator chose none."""
        return self.environments.folder or self.cache_dir / "environments"

    @property
    def effective_source_check(self) -> SourceCheck:
        """`source_check` if the operator has set it, else own where callers have rights by model."""
        chosen = "source_check" in self.model_fields_set or not set(self.auth.sources) - {"none"}
        return self.source_check if chosen else "own"

    @property
    def body_memory_bytes(self) -> int:
        """The most bytes of bodies held at once, and of unread responses: at least one body."""
        return max(self.max_bodies_bytes, self.max_body_bytes)

    @property
    def effective_grace_seconds(self) -> float:
        """`grace_seconds` if the operator has set it, else at most half of `drain_seconds`."""
        chosen = "grace_seconds" in self.model_fields_set
        return min(self.grace_seconds, self.drain_seconds if chosen else self.drain_seconds / 2)

    # Each validator checks one field against the valid ones before it. A validator of the whole model would
    # not run if any other field were wrong, and its problem would go unreported.

    @field_validator("processes")
    @classmethod
    def _check_processes(cls, processes: int) -> int:
        if processes > 1 and sys.platform != "linux":
            raise ValueError("is more than 1, but only Linux spreads connections over several processes")
        return processes

    @field_validator("pinned_models")
    @classmethod
    def _check_pinned_models(cls, pins: PinnedRefs, info: ValidationInfo) -> PinnedRefs:
        models = info.data.get("max_loaded_models", len(pins))
        if len(pins) > models:
            raise ValueError(f"names {len(pins)} models, but GATEWAY_MAX_LOADED_MODELS is {models}")
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

    @field_validator("worker_readable")
    @classmethod
    def _check_worker_readable(cls, folders: ReadableFolders, info: ValidationInfo) -> ReadableFolders:
        check_readable(folders, cache_dir=info.data.get("cache_dir"))
        return folders

    @field_validator("sources")
    @classmethod
    def _check_sources(cls, sources: NameSources, info: ValidationInfo) -> NameSources:
        """Refuse pins that these sources can never have; of other names only MLflow knows what they are."""
        for ref in info.data.get("pinned_models", ()):
            pin = f"GATEWAY_PINNED_MODELS has {format_ref(ref)}"
            if "registry" not in sources and isinstance(ref.selector, Alias):
                raise ValueError(f"does not name registry, but {pin}: only registered models have aliases")
            if "experiments" not in sources and not is_possible_registered_name(ref.name):
                raise ValueError(f"does not name experiments, but {pin}: no registered model has / or :")
        return sources
