"""Reads the settings from the environment and `.env`: all that is wrong is named, or all is well."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from dotenv import dotenv_values
from pydantic import AliasChoices, BaseModel, ValidationError

from gateway.settings.fields import Settings
from gateway.settings.upstream import MlflowSettings, S3Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PREFIX = "GATEWAY_"
PARTS: tuple[type[BaseModel], ...] = (Settings, MlflowSettings, S3Settings)


class SettingsError(Exception):
    """Some settings are unknown or wrong; `problems` names every one of them, a line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(environ: Mapping[str, str], *, env_file: Path | None = None) -> Settings:
    """Settings from `environ`, and from `env_file` where `environ` does not name them.

    An empty value counts as absent. Raises SettingsError naming every unknown `GATEWAY_*` name
    and every wrong value.
    """
    values = merged(environ, env_file)
    problems = list(_unknown(values))
    mlflow = _validated(MlflowSettings, values, problems)
    s3 = _validated(S3Settings, values, problems)
    others = {"mlflow": mlflow, "s3": s3, "environment": values}
    settings = _validated(Settings, values, problems, **others)
    if problems or not isinstance(settings, Settings):
        raise SettingsError(problems)
    return settings


def merged(environ: Mapping[str, str], env_file: Path | None = None) -> dict[str, str]:
    """What `environ` says, and `env_file` where `environ` does not; without empty values."""
    written = dotenv_values(env_file) if env_file is not None and env_file.is_file() else {}
    both = {**{name: value or "" for name, value in written.items()}, **environ}
    return {name: value for name, value in both.items() if value != ""}


def names() -> frozenset[str]:
    """The name of every setting in the environment, MLflow's and AWS's included."""
    return frozenset(name for part in PARTS for field in part.model_fields for name in aliases(part, field))


def aliases(part: type[BaseModel], field: str) -> list[str]:
    """The names that one field has in the environment, the first to win first; none for an inner part."""
    alias = part.model_fields[field].validation_alias
    if isinstance(alias, AliasChoices):
        return [choice for choice in alias.choices if isinstance(choice, str)]
    return [alias] if isinstance(alias, str) else []


def _unknown(values: Mapping[str, str]) -> Iterator[str]:
    known = names()
    for name in sorted(values):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            yield f"{name}: there is no such setting" + (f"; is {near[0]} meant?" if near else "")


def _validated(
    part: type[BaseModel], values: Mapping[str, str], problems: list[str], **others: object
) -> BaseModel:
    """The part from its own names alone, so that an unrelated `port` in the environment is not taken."""
    own = [name for field in part.model_fields for name in aliases(part, field) if name in values]
    try:
        return part.model_validate({name: values[name] for name in own} | others)
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            where = str(problem["loc"][0]) if problem["loc"] else ""
            text = problem["msg"].removeprefix("Value error, ")
            problems.append(f"{where}: {text}" if where else text)
        return part.model_construct()
