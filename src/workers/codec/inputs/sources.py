"""Columns that come with values of their own kind, and know a shorter way to a type than value by value."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from workers.codec.signature import Column


class TypedColumn(Sequence[object]):
    """A column of a table; as a sequence it has its values as JSON has them."""

    @abstractmethod
    def as_dtype(self, column: Column) -> Any | None:
        """The values as an ndarray or a Series of the column's type, or None: they must be looked at singly.

        Raises ColumnMismatch where not even that would help.
        """

    @abstractmethod
    def as_json(self, column: Column) -> Sequence[object]:
        """The values as JSON would have them in a body for this column. Raises ColumnMismatch."""

    @abstractmethod
    def as_inferred(self) -> pd.Series[Any]:
        """The values as pandas takes them, where no signature says what they are."""
