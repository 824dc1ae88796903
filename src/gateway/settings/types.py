"""The types of the settings' values, and how each is parsed from text."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from gateway.domain import refs

DEFAULT_CACHE_FOLDER_TEXT = "~/.cache/model-invocation-endpoint"
MIN_KEY_LENGTH: Final = 32
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")

T = TypeVar("T")


def split_words(value: object) -> object:
    """Return the comma-separated words of a text; anything else as it is."""
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    return value


def _parse_pinned(value: object) -> object:
    words = split_words(value)
    if isinstance(words, tuple):
        return tuple(refs.parse_pinned(word) if isinstance(word, str) else word for word in words)
    return words


def _check_schemes(words: tuple[str, ...]) -> tuple[str, ...]:
    for word in words:
        if not _SCHEME.fullmatch(word):
            raise ValueError(f"{word!r} is not a URI scheme such as s3 or mlflow-artifacts")
    return words


def _check_hosts(words: tuple[str, ...]) -> tuple[str, ...]:
    if not words:
        raise ValueError("names no address")
    hosts = [word[1:-1] if word.startswith("[") and word.endswith("]") else word for word in words]
    for host in hosts:
        if re.search(r"[\s/\[\]]", host) or host.count(":") == 1:
            raise ValueError(f"{host!r} is not an address or a name without a port, which is GATEWAY_PORT")
    return tuple(dict.fromkeys(hosts))


def _check_absolute(words: tuple[str, ...]) -> tuple[str, ...]:
    for word in words:
        if not Path(word).is_absolute():
            raise ValueError(f"{word!r} is not an absolute path")
    return words


def _check_sources(words: tuple[str, ...]) -> tuple[str, ...]:
    if not words:
        raise ValueError("names neither registry nor experiments")
    return tuple(dict.fromkeys(words))


def _check_cache_key(key: SecretStr) -> SecretStr:
    length = len(key.get_secret_value())
    if 0 < length < MIN_KEY_LENGTH:
        raise ValueError(f"has {length} characters, but must have at least {MIN_KEY_LENGTH} random ones")
    return key


def is_loopback(host: str) -> bool:
    """Return whether an address or name is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() in {"localhost", "localhost.localdomain", "ip6-localhost"}


def default_cache_folder() -> Path:
    """Return the user's cache folder by the XDG Base Directory specification."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / Path(DEFAULT_CACHE_FOLDER_TEXT).name


def expand(path: Path) -> Path:
    """Return the path with the home folder in place of `~`; raise ValueError if there is none."""
    if "\0" in str(path):
        raise ValueError("contains a NUL character")
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"'{path}' begins with a home folder that does not exist") from error


ExpandedPath = Annotated[Path, AfterValidator(expand)]
CommaSeparated = Annotated[tuple[str, ...], BeforeValidator(split_words)]
Hosts = Annotated[CommaSeparated, AfterValidator(_check_hosts)]
UriSchemes = Annotated[CommaSeparated, AfterValidator(_check_schemes)]
AbsoluteFolders = Annotated[CommaSeparated, AfterValidator(_check_absolute)]
NameSource = Literal["registry", "experiments"]
NameSources = Annotated[tuple[NameSource, ...], BeforeValidator(split_words), AfterValidator(_check_sources)]
SourceCheck = Literal["off", "warn", "own"]
ConsoleMode = Literal["off", "read", "full"]
CacheKey = Annotated[SecretStr, AfterValidator(_check_cache_key)]
PinnedRefs = Annotated[tuple[refs.ModelRef, ...], BeforeValidator(_parse_pinned)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeSeconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveInt = Annotated[int, Field(ge=1)]
RELOADABLE: Final = "reloadable"
Reloadable = Annotated[T, RELOADABLE]  # a running gateway applies a change of such a field


class SettingsGroup(BaseModel):
    """A frozen group of settings whose errors do not repeat the wrong values, which may be secrets."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True)
