"""Columns whose values already have a type of their own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import pandas as pd

from workers.codec.signature import Column


class TypedColumn(Sequence[object]):
    """A column of a table that can be converted as a whole; as a sequence it holds JSON values."""

    @abstractmethod
    def as_dtype(self, column: Column) -> Any | None:
        """Return the column as an ndarray or a Series of the signature's type.

        Returns None if the values must be checked one by one, as JSON values. Raises ColumnMismatch if no
        value can fit.
        """

    @abstractmethod
    def as_json(self, column: Column) -> Sequence[object]:
        """Return the values as a JSON body would hold them for this column. Raises ColumnMismatch."""

    @abstractmethod
    def as_inferred(self) -> pd.Series[Any]:
        """Return the values as pandas would type them, for models without a signature."""
