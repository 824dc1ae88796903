"""Read the settings from the environment and `.env`, and report every problem at once."""

from __future__ import annotations

import difflib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import AliasChoices, BaseModel, ValidationError

from gateway.settings.auth import AuthSettings
from gateway.settings.auth_checks import auth_problems, open_address_problems
from gateway.settings.browser import BrowserSettings
from gateway.settings.client_files import AWS_CONFIG, AWS_CREDENTIALS, MLFLOW_CREDENTIALS, read_client_files
from gateway.settings.environments import EnvironmentSettings
from gateway.settings.fleet import FleetSettings, NodeSettings
from gateway.settings.fleet_checks import fleet_problems
from gateway.settings.jwt import JwtSettings
from gateway.settings.model_access import ModelAccessSettings
from gateway.settings.ray import RaySettings
from gateway.settings.schema import Settings
from gateway.settings.service_links import find_service_links
from gateway.settings.tls import TlsSettings
from gateway.settings.upstream import MlflowSettings, S3Settings
from gateway.system.trusted_files import UntrustedFileError, read_trusted_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from dotenv.parser import Original


ENV_PREFIX = "GATEWAY_"
_OTHER_WAYS = "Or mount it read-only, or give its values as environment variables"
PARTS: dict[str, type[BaseModel]] = {
    "auth": AuthSettings,
    "jwt": JwtSettings,
    "tls": TlsSettings,
    "browser": BrowserSettings,
    "model_access": ModelAccessSettings,
    "environments": EnvironmentSettings,
    "fleet": FleetSettings,
    "node": NodeSettings,
    "ray": RaySettings,
    "mlflow": MlflowSettings,
    "s3": S3Settings,
}
"""The fields of the settings that are groups of their own."""

GROUPS: tuple[type[BaseModel], ...] = (Settings, *PARTS.values())


class SettingsError(Exception):
    """Some settings are unknown or invalid; `problems` has a line for each of them."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(
    environ: Mapping[str, str],
    *,
    env_file: Path | None = None,
    extra_checks: Callable[[Mapping[str, str]], Iterable[str]] | None = None,
) -> Settings:
    """Return the settings from `environ`, and from `env_file` for names that `environ` does not have.

    An empty value counts as not set. Raise SettingsError with every unknown `GATEWAY_*` name, every invalid
    value, every line of `env_file` that cannot be parsed, and every problem that `extra_checks` reports of
    the values. What Kubernetes sets for Services is left out, and named in `service_links`.
    """
    from_file, problems = _read_env_file(env_file)
    values = _merge(from_file, environ)
    links = sorted(name for name in find_service_links(values) if name.startswith(ENV_PREFIX))
    values = {name: value for name, value in values.items() if name not in links}
    problems += [*_unknown_names(values), *(extra_checks(values) if extra_checks is not None else ())]
    files, file_problems = read_client_files(values)
    problems += file_problems
    stored = {
        "mlflow": {"stored_credentials": files.text(MLFLOW_CREDENTIALS)},
        "s3": {"config_text": files.text(AWS_CONFIG), "credentials_text": files.text(AWS_CREDENTIALS)},
    }
    nested: dict[str, object] = {
        part: _validate_group(group, values, problems=problems, nested=stored.get(part, {}))
        for part, group in PARTS.items()
    }
    nested |= {
        "environment": values,
        "from_file": frozenset(from_file.keys() & values.keys() - _given(environ)),
        "service_links": tuple(links),
        "client_files": files,
    }
    settings = _validate_group(Settings, values, problems=problems, nested=nested)
    problems += _cache_folder_problem(settings, env_file)
    if isinstance(settings, Settings):
        problems += open_address_problems(settings, decided="GATEWAY_AUTH" in values)
        problems += () if problems else [*auth_problems(settings), *fleet_problems(settings)]
    if problems or not isinstance(settings, Settings):
        raise SettingsError(problems)
    return settings


def validate_settings(values: Mapping[str, object]) -> Settings:
    """Return the settings with these values by field name; raise SettingsError if they contradict."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(list(_problems(Settings, error))) from error


def read_environment(environ: Mapping[str, str], env_file: Path | None = None) -> dict[str, str]:
    """Return `environ`, and `env_file` for names that `environ` does not have, without empty values.

    Raise SettingsError with every line of `env_file` that cannot be parsed.
    """
    from_file, problems = _read_env_file(env_file)
    if problems:
        raise SettingsError(problems)
    return _merge(from_file, environ)


def env_names() -> frozenset[str]:
    """Return the environment names of all settings, also those of MLflow and AWS."""
    return frozenset(
        name for group in GROUPS for field in group.model_fields for name in aliases(group, field)
    )


def aliases(group: type[BaseModel], field: str) -> list[str]:
    """Return the environment names of one field, in order of precedence; none for a nested group."""
    alias = group.model_fields[field].validation_alias
    if isinstance(alias, AliasChoices):
        return [choice for choice in alias.choices if isinstance(choice, str)]
    return [alias] if isinstance(alias, str) else []


def _read_env_file(env_file: Path | None) -> tuple[dict[str, str], list[str]]:
    """Return the file's values and its problems, which show no broken line: it may contain a secret."""
    if env_file is None:
        return {}, []
    try:
        if not env_file.exists():
            return {}, []
        bindings = list(parse_stream(io.StringIO(read_trusted_file(env_file).decode())))
    except UntrustedFileError as error:
        return {}, [f"{env_file.name} is not read: {error}. {_OTHER_WAYS}"]
    except OSError as error:
        return {}, [f"{env_file.name} cannot be read: {error.strerror}"]
    except UnicodeDecodeError:
        return {}, [f"{env_file.name} is not UTF-8 text"]
    valid = "".join(binding.original.string for binding in bindings if not binding.error)
    values = {name: value or "" for name, value in dotenv_values(stream=io.StringIO(valid)).items()}
    broken = [_line_number(binding.original) for binding in bindings if binding.error]
    return values, [f"{env_file.name}: line {line} is not of the form NAME=value" for line in broken]


def _cache_folder_problem(settings: BaseModel, env_file: Path | None) -> list[str]:
    """Return a problem if the file is in the cache folder, which has what others have made."""
    if env_file is None or not env_file.exists() or not isinstance(settings, Settings):
        return []
    if not env_file.resolve().is_relative_to(settings.cache_dir.resolve()):
        return []
    return [f"{env_file.name} is not read: its folder is in GATEWAY_CACHE_DIR"]


def _line_number(original: Original) -> int:
    """Return the number of the line itself: `original` starts with the empty lines before it."""
    text = original.string
    return original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _merge(from_file: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return both without empty values; `environ` wins, except by what Kubernetes sets for Services."""
    unasked = {name: environ[name] for name in find_service_links(environ)}
    chosen = {name: value for name, value in environ.items() if name not in unasked}
    return {name: value for name, value in {**unasked, **from_file, **chosen}.items() if value != ""}


def _given(environ: Mapping[str, str]) -> set[str]:
    """Return the names that `environ` has a value for, by more than Kubernetes' Services."""
    return {name for name, value in environ.items() if value} - set(find_service_links(environ))


def _unknown_names(values: Mapping[str, str]) -> Iterator[str]:
    known = env_names()
    for name in sorted(values):
        if name.startswith(ENV_PREFIX) and name not in known:
            similar = difflib.get_close_matches(name, known, n=1)
            yield f"{name}: there is no such setting" + (f"; is {similar[0]} meant?" if similar else "")


def _validate_group(
    group: type[BaseModel], values: Mapping[str, str], *, problems: list[str], nested: Mapping[str, object]
) -> BaseModel:
    """Return the group built from its own names alone: an unrelated `port` in the environment is not read.

    Add to `problems` what is invalid, and return the group's defaults then.
    """
    own = [name for field in group.model_fields for name in aliases(group, field) if name in values]
    try:
        return group.model_validate({name: values[name] for name in own} | dict(nested))
    except ValidationError as error:
        problems += _problems(group, error)
        return group.model_construct()


def _problems(group: type[BaseModel], error: ValidationError) -> Iterator[str]:
    """Yield a line for each invalid value, with its environment name."""
    for problem in error.errors(include_url=False, include_input=False):
        name = str(problem["loc"][0])
        if name in group.model_fields:  # pydantic reports a field by this name if it has its default
            name = next(iter(aliases(group, name)), name)
        yield f"{name}: {problem['msg'].removeprefix('Value error, ')}"


@dataclass(slots=True)
class CurrentSettings:
    """A holder of the settings in force; only `gateway.settings.reload` exchanges its `value`."""

    value: Settings
