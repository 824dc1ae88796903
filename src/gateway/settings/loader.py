"""Reads the settings from the environment and `.env`: all that is wrong is named, or all is well."""

from __future__ import annotations

import difflib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import AliasChoices, BaseModel, ValidationError

from gateway.settings.schema import Settings
from gateway.settings.upstream import MlflowSettings, S3Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from dotenv.parser import Original


ENV_PREFIX = "GATEWAY_"
GROUPS: tuple[type[BaseModel], ...] = (Settings, MlflowSettings, S3Settings)


class SettingsError(Exception):
    """Some settings are unknown or wrong; `problems` names every one of them, a line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(
    environ: Mapping[str, str],
    *,
    env_file: Path | None = None,
    extra_checks: Callable[[Mapping[str, str]], Iterable[str]] | None = None,
) -> Settings:
    """Settings from `environ`, and from `env_file` where `environ` does not name them.

    An empty value counts as absent. Raises SettingsError naming every unknown `GATEWAY_*` name,
    every wrong value, every line of `env_file` that cannot be read, and what `also` finds in the values.
    """
    written, problems = _read_env_file(env_file)
    values = _merge(written, environ)
    problems += [*_unknown_names(values), *(extra_checks(values) if extra_checks is not None else ())]
    mlflow = _validate_group(MlflowSettings, values, problems)
    s3 = _validate_group(S3Settings, values, problems)
    others = {"mlflow": mlflow, "s3": s3, "environment": values}
    settings = _validate_group(Settings, values, problems, **others)
    if problems or not isinstance(settings, Settings):
        raise SettingsError(problems)
    return settings


def validate_settings(values: Mapping[str, object]) -> Settings:
    """Settings from the values of all fields, by field; raises SettingsError where they do not agree."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(list(_problems(Settings, error))) from error


def read_environment(environ: Mapping[str, str], env_file: Path | None = None) -> dict[str, str]:
    """What `environ` says, and `env_file` where `environ` does not; without empty values.

    Raises SettingsError naming every line of `env_file` that cannot be read.
    """
    written, problems = _read_env_file(env_file)
    if problems:
        raise SettingsError(problems)
    return _merge(written, environ)


def env_names() -> frozenset[str]:
    """The name of every setting in the environment, MLflow's and AWS's included."""
    return frozenset(name for part in GROUPS for field in part.model_fields for name in aliases(part, field))


def aliases(part: type[BaseModel], field: str) -> list[str]:
    """The names that one field has in the environment, the first to win first; none for an inner part."""
    alias = part.model_fields[field].validation_alias
    if isinstance(alias, AliasChoices):
        return [choice for choice in alias.choices if isinstance(choice, str)]
    return [alias] if isinstance(alias, str) else []


def _read_env_file(env_file: Path | None) -> tuple[dict[str, str], list[str]]:
    """What the file says, and what is wrong with it; a broken line may hold a secret and is not shown."""
    if env_file is None or not env_file.exists():
        return {}, []
    try:
        bindings = list(parse_stream(io.StringIO(env_file.read_text(encoding="utf-8"))))
    except OSError as error:
        return {}, [f"{env_file.name} cannot be read: {error.strerror}"]
    except UnicodeDecodeError:
        return {}, [f"{env_file.name} is not a text in UTF-8"]
    good = "".join(each.original.string for each in bindings if not each.error)
    values = {name: value or "" for name, value in dotenv_values(stream=io.StringIO(good)).items()}
    wrong = [_line_number(each.original) for each in bindings if each.error]
    return values, [f"{env_file.name}: line {line} is not of the form NAME=value" for line in wrong]


def _line_number(original: Original) -> int:
    """The number of the line itself: empty lines before it count as part of it."""
    text = original.string
    return original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _merge(written: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in {**written, **environ}.items() if value != ""}


def _unknown_names(values: Mapping[str, str]) -> Iterator[str]:
    known = env_names()
    for name in sorted(values):
        if name.startswith(ENV_PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            yield f"{name}: there is no such setting" + (f"; is {near[0]} meant?" if near else "")


def _validate_group(
    part: type[BaseModel], values: Mapping[str, str], problems: list[str], **others: object
) -> BaseModel:
    """The part from its own names alone, so that an unrelated `port` in the environment is not taken."""
    own = [name for field in part.model_fields for name in aliases(part, field) if name in values]
    try:
        return part.model_validate({name: values[name] for name in own} | others)
    except ValidationError as error:
        problems += _problems(part, error)
        return part.model_construct()


def _problems(part: type[BaseModel], error: ValidationError) -> Iterator[str]:
    """A line for each wrong value, by its name in the environment."""
    for problem in error.errors(include_url=False, include_input=False):
        where = str(problem["loc"][0])
        if where in part.model_fields:  # so pydantic names a field that has its default
            where = next(iter(aliases(part, where)), where)
        yield f"{where}: {problem['msg'].removeprefix('Value error, ')}"


@dataclass(slots=True)
class CurrentSettings:
    """Holds one frozen set of settings, which `gateway.reload` alone exchanges for another."""

    value: Settings
