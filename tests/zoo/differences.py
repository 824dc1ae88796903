"""A way in which the gateway answers otherwise than MLflow, with its reason and the cases that show it.

A case that differs and is in no row of the table fails; so does one that is, and differs no longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.zoo.asking import Outcome
    from tests.zoo.cases import Case

Source = Literal["model", "like", "expect", ""]


@dataclass(frozen=True, slots=True)
class Difference:
    """One intended difference: what each side does, and why.

    `server` and `gateway` are the statuses, `model` what the model itself does on MLflow's data.
    `source` says whose answer the gateway's has to equal where it answers: the model's on the same
    body, or the probe's `like` or `expect`. `translate` makes that answer of the server's. `cases` are
    `model/probe`, followed by the forms where it is not all of them.
    """

    title: str
    there: str
    here: str
    why: str
    server: int
    gateway: int
    model: Outcome
    source: Source
    cases: tuple[str, ...]
    reason: str = ""
    translate: Callable[[Any], Any] | None = None

    def holds_for(self, case: Case) -> bool:
        """Whether the case is one of this difference."""
        for named in self.cases:
            name, _, forms = named.partition(": ")
            if name == f"{case.entry.model}/{case.probe.name}" and (not forms or case.form in forms.split()):
                return True
        return False
