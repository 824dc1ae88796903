"""Every case: a model, one of its probes, and a form that the probe has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.zoo.forms import FORMS, Body, body
from tests.zoo.probes import ENTRIES

if TYPE_CHECKING:
    from tests.zoo.samples import Entry, Probe


@dataclass(frozen=True, slots=True)
class Case:
    """One body for one model."""

    entry: Entry
    probe: Probe
    form: str
    body: Body

    @property
    def name(self) -> str:
        """`model/probe/form`."""
        return f"{self.entry.model}/{self.probe.name}/{self.form}"


def cases() -> list[Case]:
    """All of them, the cases of one model together."""
    found = []
    for entry in ENTRIES:
        for probe in entry.probes:
            bodies = {form: body(probe, form) for form in FORMS}
            written = [Case(entry, probe, form, made) for form, made in bodies.items() if made is not None]
            assert written, f"{entry.model}/{probe.name} has no form"
            found += written
    names = [case.name for case in found]
    assert len(names) == len(set(names)), "two probes of a model have one name"
    return found
