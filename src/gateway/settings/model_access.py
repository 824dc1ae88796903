"""The settings of what model code may see of the gateway's surroundings."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator

from gateway.settings.types import CommaSeparated, SettingsGroup
from gateway.system.environment import is_own_secret

_NAME_PATTERN: Final = re.compile(r"[A-Za-z_*][A-Za-z0-9_*]*")


def _check_name_patterns(words: tuple[str, ...]) -> tuple[str, ...]:
    for word in words:
        if not _NAME_PATTERN.fullmatch(word):
            raise ValueError(f"{word!r} is not the name of a variable, nor a pattern such as HF_*")
        if is_own_secret(word):
            raise ValueError(f"{word} belongs to the gateway itself, and is never given to models")
    return words


NamePatterns = Annotated[CommaSeparated, AfterValidator(_check_name_patterns)]


class ModelAccessSettings(SettingsGroup):
    """What model code sees of the environment and of the MLflow server."""

    environment: NamePatterns = Field(
        (),
        alias="GATEWAY_MODEL_ENVIRONMENT",
        description="Environment variables for models that would be withheld because they look like secrets, "
        "comma-separated, with * for any characters: `OPENAI_API_KEY, HF_*`. The gateway's own credentials "
        "are never given to models. Other variables need no mention.",
    )
    mlflow: Literal["none", "read"] = Field(
        "none",
        alias="GATEWAY_MODEL_MLFLOW",
        description="What model code can do with MLflow's client. none: nothing; read: read from the MLflow "
        "server, for models that load other models or prompts. Traces are discarded either way.",
    )
    mlflow_username: str = Field(
        "",
        alias="GATEWAY_MODEL_MLFLOW_USERNAME",
        description="User name with which models read from the MLflow server. The gateway's own is not "
        "given to them.",
    )
    mlflow_password: SecretStr = Field(
        SecretStr(""), alias="GATEWAY_MODEL_MLFLOW_PASSWORD", description="Password of that user."
    )
    mlflow_token: SecretStr = Field(
        SecretStr(""),
        alias="GATEWAY_MODEL_MLFLOW_TOKEN",
        description="Bearer token with which models read from the MLflow server.",
    )

    @field_validator("mlflow_username", "mlflow_password", "mlflow_token")
    @classmethod
    def _check_used(cls, value: str | SecretStr, info: ValidationInfo) -> str | SecretStr:
        if info.data.get("mlflow") == "none":
            raise ValueError("has no effect unless GATEWAY_MODEL_MLFLOW is read")
        return value
