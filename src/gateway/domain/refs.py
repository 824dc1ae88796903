"""References to model versions: a model's name and a selector of its version."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar, Literal

from gateway.errors import BadRequest, NotFound

Order = Literal["min", "max"]
ORDERS: dict[str, Order] = {"min": "min", "max": "max"}
MAX_QUOTED_LENGTH = 256

_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
_ALIAS = re.compile(r"[A-Za-z0-9_-]{1,255}")
_MODEL_ID = re.compile(r"m-[A-Za-z0-9_-]{1,126}")
_RUN_ID = re.compile(r"[0-9a-f]{32}")
_PINNED = re.compile(
    r"(?P<name>.+?)(?:/(?P<version>[1-9][0-9]{0,17}|latest|best|m-[A-Za-z0-9_-]{1,126}|[0-9a-f]{32})"
    r"|/?(?P<alias>@[A-Za-z0-9_-]{1,255}))"
)


@dataclass(frozen=True, slots=True)
class Number:
    """A selector of the version with this number."""

    fixed: ClassVar[bool] = True
    value: int


@dataclass(frozen=True, slots=True)
class Latest:
    """A selector of the newest READY version."""

    fixed: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Best:
    """A selector of the best READY version; None for `metric` leaves the choice to tags and settings."""

    fixed: ClassVar[bool] = False
    metric: str | None = None
    order: Order | None = None


@dataclass(frozen=True, slots=True)
class Alias:
    """A selector of the version that this alias points to."""

    fixed: ClassVar[bool] = False
    name: str


@dataclass(frozen=True, slots=True)
class ModelId:
    """A selector of the version with the files of this logged model of MLflow 3."""

    fixed: ClassVar[bool] = True
    value: str


@dataclass(frozen=True, slots=True)
class RunId:
    """A selector of the version that this run produced."""

    fixed: ClassVar[bool] = True
    value: str


Selector = Number | Latest | Best | Alias | ModelId | RunId
"""A selector is `fixed` if it names one version, which no other version ever replaces."""


@dataclass(frozen=True)
class ModelRef:
    """A reference to a version of a model; its hash is computed once."""

    name: str
    selector: Selector

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.name, self.selector))


@lru_cache(maxsize=4096)
def parse_selector(text: str, *, metric: str | None = None, order: str | None = None) -> Selector:
    """Parse a selector: a number, `latest`, `best`, `@alias`, a logged model's id or a run's id.

    MLflow accepts `01` and `+1` for 1. Here a version has only one spelling, because it becomes part of
    cache keys. Raise NotFound, or BadRequest for a wrong `order`.
    """
    if text == "best":
        return Best(metric or None, parse_order(order))
    if text == "latest":
        return Latest()
    if _NUMBER.fullmatch(text):
        return Number(int(text))
    if text.startswith("@") and _ALIAS.fullmatch(text[1:]):
        return Alias(text[1:])
    if _MODEL_ID.fullmatch(text):
        return ModelId(text)
    if _RUN_ID.fullmatch(text):
        return RunId(text)
    raise NotFound(
        "No such version: a version is a number such as 3, latest, best, @alias, "
        "the id of a logged model (m-…) or the id of a run."
    )


def parse_order(text: str | None) -> Order | None:
    """Parse the order of metrics, None for no text; raise BadRequest for another word."""
    if not text:
        return None
    if text not in ORDERS:
        raise BadRequest("order must be min or max.")
    return ORDERS[text]


def parse_pinned(text: str) -> ModelRef:
    """Parse one entry of `GATEWAY_PINNED_MODELS`: `name@alias`, or `name/` and any other selector.

    Raise ValueError with the valid forms.
    """
    match = _PINNED.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not name@alias, name/number, name/latest, name/best or name/id")
    return ModelRef(match["name"], parse_selector(match["version"] or match["alias"]))


def is_possible_registered_name(name: str) -> bool:
    """Return whether MLflow accepts `name` for a registered model; some of its stores fail on others."""
    return "/" not in name and ":" not in name


def quote_name(name: str) -> str:
    """Return `name` in quotes for a message, shortened if it is longer than any name in MLflow."""
    return repr(name if len(name) <= MAX_QUOTED_LENGTH else f"{name[:MAX_QUOTED_LENGTH]}…")


def format_ref(ref: ModelRef) -> str:
    """Return the ref in the form of `GATEWAY_PINNED_MODELS`."""
    match ref.selector:
        case Number(value) | ModelId(value) | RunId(value):
            return f"{ref.name}/{value}"
        case Alias(name):
            return f"{ref.name}@{name}"
        case Latest():
            return f"{ref.name}/latest"
        case Best():
            return f"{ref.name}/best"
