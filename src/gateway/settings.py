"""Every setting, read once from the environment and `.env`; the only reader of the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from dotenv import dotenv_values
from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from gateway import refs

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "GATEWAY_"


class SettingsError(Exception):
    """Some settings are unknown or wrong; `problems` names every one of them, a line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _words(value: object) -> object:
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    return value


def _pinned(value: object) -> object:
    words = _words(value)
    if isinstance(words, tuple):
        return tuple(refs.pinned(word) if isinstance(word, str) else word for word in words)
    return words


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "model-invocation-endpoint"


Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
Pins = Annotated[tuple[refs.ModelRef, ...], BeforeValidator(_pinned)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True)


class MlflowSettings(_Frozen):
    """Where the MLflow server is and how to speak to it, under the names MLflow's own client reads."""

    tracking_uri: str = Field("", alias="MLFLOW_TRACKING_URI")
    registry_uri: str = Field("", alias="MLFLOW_REGISTRY_URI")
    workspace: str = Field("", alias="MLFLOW_WORKSPACE")
    username: str = Field("", alias="MLFLOW_TRACKING_USERNAME")
    password: SecretStr = Field(SecretStr(""), alias="MLFLOW_TRACKING_PASSWORD")
    token: SecretStr = Field(SecretStr(""), alias="MLFLOW_TRACKING_TOKEN")
    insecure_tls: bool = Field(default=False, alias="MLFLOW_TRACKING_INSECURE_TLS")
    server_cert_path: Path | None = Field(None, alias="MLFLOW_TRACKING_SERVER_CERT_PATH")
    client_cert_path: Path | None = Field(None, alias="MLFLOW_TRACKING_CLIENT_CERT_PATH")
    request_timeout: Seconds = Field(10, alias="MLFLOW_HTTP_REQUEST_TIMEOUT")


class S3Settings(_Frozen):
    """How to reach `s3://` artifacts; what is empty is left to the AWS default chain."""

    endpoint_url: str = Field(
        "", validation_alias=AliasChoices("MLFLOW_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    )
    ignore_tls: bool = Field(default=False, alias="MLFLOW_S3_IGNORE_TLS")
    bucket_owner: str = Field("", alias="MLFLOW_S3_EXPECTED_BUCKET_OWNER")
    addressing_style: Literal["auto", "path", "virtual"] = Field("auto", alias="MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE")
    access_key_id: SecretStr = Field(SecretStr(""), alias="AWS_ACCESS_KEY_ID")
    secret_access_key: SecretStr = Field(SecretStr(""), alias="AWS_SECRET_ACCESS_KEY")
    session_token: SecretStr = Field(SecretStr(""), alias="AWS_SESSION_TOKEN")
    region: str = Field("", validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"))
    ca_bundle: Path | None = Field(None, alias="AWS_CA_BUNDLE")


class Settings(_Frozen):
    """The gateway's own settings, and those it shares with MLflow's client and AWS's."""

    host: str = Field("127.0.0.1", alias="GATEWAY_HOST", min_length=1)
    port: int = Field(8080, alias="GATEWAY_PORT", ge=0, le=65535)
    workers_per_model: Count = Field(1, alias="GATEWAY_WORKERS_PER_MODEL")
    max_loaded_models: Count = Field(20, alias="GATEWAY_MAX_LOADED_MODELS")
    idle_seconds: float = Field(900, alias="GATEWAY_IDLE_SECONDS", ge=0, allow_inf_nan=False)
    pinned_models: Pins = Field((), alias="GATEWAY_PINNED_MODELS")
    cache_dir: Path = Field(default_factory=_cache_folder, alias="GATEWAY_CACHE_DIR")
    cache_max_bytes: Count = Field(20 * 2**30, alias="GATEWAY_CACHE_MAX_BYTES")
    artifact_schemes: Words = Field(("mlflow-artifacts", "s3"), alias="GATEWAY_ARTIFACT_SCHEMES")
    artifact_roots: Words = Field((), alias="GATEWAY_ARTIFACT_ROOTS")
    catalog_ttl_seconds: float = Field(5, alias="GATEWAY_CATALOG_TTL_SECONDS", ge=0, allow_inf_nan=False)
    request_timeout_seconds: Seconds = Field(60, alias="GATEWAY_REQUEST_TIMEOUT_SECONDS")
    load_timeout_seconds: Seconds = Field(300, alias="GATEWAY_LOAD_TIMEOUT_SECONDS")
    max_queue: Count = Field(1024, alias="GATEWAY_MAX_QUEUE")
    max_body_bytes: Count = Field(64 * 2**20, alias="GATEWAY_MAX_BODY_BYTES")
    input_checks: Literal["strict", "mlflow"] = Field("strict", alias="GATEWAY_INPUT_CHECKS")
    best_metric: str = Field("", alias="GATEWAY_BEST_METRIC")
    best_order: Literal["", "min", "max"] = Field("", alias="GATEWAY_BEST_ORDER")
    model_error_text: bool = Field(default=False, alias="GATEWAY_MODEL_ERROR_TEXT")
    drain_seconds: Seconds = Field(30, alias="GATEWAY_DRAIN_SECONDS")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", alias="GATEWAY_LOG_LEVEL")
    log_format: Literal["auto", "json", "text"] = Field("auto", alias="GATEWAY_LOG_FORMAT")
    mlflow: MlflowSettings = Field(default_factory=MlflowSettings)
    s3: S3Settings = Field(default_factory=S3Settings)
    environment: dict[str, str] = Field(default_factory=dict, repr=False)

    @model_validator(mode="after")
    def _room_for_pinned(self) -> Settings:
        if len(self.pinned_models) > self.max_loaded_models:
            raise ValueError(
                f"GATEWAY_PINNED_MODELS names {len(self.pinned_models)} models, but "
                f"GATEWAY_MAX_LOADED_MODELS is {self.max_loaded_models}"
            )
        return self


def load(environ: Mapping[str, str], *, env_file: Path | None = None) -> Settings:
    """Settings from `environ`, and from `env_file` where `environ` does not name them.

    An empty value counts as absent. Raises SettingsError naming every unknown `GATEWAY_*` name
    and every wrong value.
    """
    values = _merged(environ, env_file)
    problems = [
        f"{name}: there is no such setting"
        for name in sorted(values)
        if name.startswith(PREFIX) and name not in names()
    ]
    parts: dict[str, object] = {}
    for part, model in (("mlflow", MlflowSettings), ("s3", S3Settings)):
        parts[part] = _validated(model, values, problems)
    settings = _validated(Settings, {**values, **parts, "environment": values}, problems)
    if problems or not isinstance(settings, Settings):
        raise SettingsError(problems)
    return settings


def names() -> frozenset[str]:
    """The name of every setting in the environment, MLflow's and AWS's included."""
    return frozenset(name for model in (Settings, MlflowSettings, S3Settings) for name in _aliases(model))


def _aliases(model: type[BaseModel]) -> list[str]:
    found: list[str] = []
    for info in model.model_fields.values():
        if isinstance(info.validation_alias, AliasChoices):
            found += [choice for choice in info.validation_alias.choices if isinstance(choice, str)]
        elif isinstance(info.validation_alias, str):
            found.append(info.validation_alias)
    return found


def _merged(environ: Mapping[str, str], env_file: Path | None) -> dict[str, str]:
    written = dotenv_values(env_file) if env_file is not None and env_file.is_file() else {}
    merged = {**{name: value or "" for name, value in written.items()}, **environ}
    return {name: value for name, value in merged.items() if value != ""}


def _validated(model: type[BaseModel], values: Mapping[str, object], problems: list[str]) -> BaseModel:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            where = str(problem["loc"][0]) if problem["loc"] else ""
            text = problem["msg"].removeprefix("Value error, ")
            problems.append(f"{where}: {text}" if where else text)
        return model.model_construct()
