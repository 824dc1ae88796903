"""The intended differences themselves; `docs/differences-from-mlflow.md` shows them."""

from __future__ import annotations

from tests.zoo.table.answered import ANSWERS
from tests.zoo.table.given import GIVEN
from tests.zoo.table.refused import REFUSED
from tests.zoo.table.taken import TAKEN

DIFFERENCES = (*REFUSED, *TAKEN, *GIVEN, *ANSWERS)

__all__ = ["ANSWERS", "DIFFERENCES", "GIVEN", "REFUSED", "TAKEN"]
