"""The kinds of value that settings have, and how each is read from text."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from gateway.domain import refs

CACHE_SHOWN = "~/.cache/model-invocation-endpoint"
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")


def _words(value: object) -> object:
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    return value


def _pinned(value: object) -> object:
    words = _words(value)
    if isinstance(words, tuple):
        return tuple(refs.pinned(word) if isinstance(word, str) else word for word in words)
    return words


def _schemes(words: tuple[str, ...]) -> tuple[str, ...]:
    for word in words:
        if not _SCHEME.fullmatch(word):
            raise ValueError(f"{word!r} is not a URI scheme such as s3 or mlflow-artifacts")
    return words


def _absolute(words: tuple[str, ...]) -> tuple[str, ...]:
    for word in words:
        if not Path(word).is_absolute():
            raise ValueError(f"{word!r} is not an absolute path")
    return words


def cache_folder() -> Path:
    """The user's cache folder, as the XDG base directories have it."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / Path(CACHE_SHOWN).name


Folder = Annotated[Path, AfterValidator(Path.expanduser)]
Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
Schemes = Annotated[Words, AfterValidator(_schemes)]
Roots = Annotated[Words, AfterValidator(_absolute)]
Pins = Annotated[tuple[refs.ModelRef, ...], BeforeValidator(_pinned)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
SecondsOrNone = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Part(BaseModel):
    """A group of settings: frozen, and silent about what was entered when it is wrong."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True)
