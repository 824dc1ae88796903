"""What is sent to a model, apart from the form in which it is sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of JSON values, all of one length.

    The texts of `times` are times in formats that have such, those of `octets` the bytes that they are
    base64 of in Arrow and Open Inference.
    """

    columns: Mapping[Any, Sequence[Any]]  # by name: text, or a number in `dataframe_split` alone
    times: tuple[str, ...] = ()
    octets: tuple[str, ...] = ()

    def rows(self) -> list[list[Any]]:
        """The same by rows."""
        return [list(row) for row in zip(*self.columns.values(), strict=True)]

    def records(self) -> list[dict[str, Any]]:
        """The same as an object per row."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows()]

    def flat(self) -> bool:
        """Whether every cell is a scalar, as a CSV file needs it."""
        return not any(isinstance(cell, list | dict) for cells in self.columns.values() for cell in cells)


@dataclass(frozen=True, slots=True)
class Tensor:
    """Nested lists that are one array."""

    values: Any


@dataclass(frozen=True, slots=True)
class Tensors:
    """One array per name."""

    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Plain:
    """A value of a type-hinted model, which goes under `inputs` alone."""

    value: Any


@dataclass(frozen=True, slots=True)
class Document:
    """A whole JSON body."""

    body: Any


Sample = Table | Tensor | Tensors | Plain | Document


@dataclass(frozen=True, slots=True)
class Probe:
    """One input of a model, sent in every form that it has, or only in `forms`.

    Where MLflow does not take it, or changes it, the gateway's answer is to be what the model itself
    gives on `like`, sent as `dataframe_split`; or `expect`, where MLflow cannot bring it such data at all.
    """

    name: str
    sample: Sample
    forms: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    like: Table | None = None
    expect: Any = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A model of the zoo and the inputs that it is asked with; `needs` is a package it can be without."""

    model: str
    probes: tuple[Probe, ...]
    needs: str = ""
