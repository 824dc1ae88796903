"""What a probe says, apart from its form: the sample and the params; and the JSON body that says the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.zoo.forms import JSON_FORMS
from tests.zoo.samples import Document, Plain, Sample, Table, Tensor, Tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.zoo.samples import Probe


class CannotSay(Exception):
    """The form cannot say the input; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Said:
    """One input; `reference` is the form whose body MLflow's own functions make data of."""

    sample: Sample
    params: Mapping[str, Any]
    reference: str


def said(probe: Probe) -> Said:
    """The probe without its form. Raises CannotSay for one that is about a JSON form alone."""
    reference = _reference(probe.sample)
    if probe.forms and (isinstance(probe.sample, Plain) or reference not in probe.forms):
        raise CannotSay(f"the probe is about {' and '.join(probe.forms)} alone")
    if not isinstance(probe.sample, Document):
        return Said(probe.sample, probe.params, reference)
    body = dict(probe.sample.body)
    if "messages" not in body:
        raise CannotSay("the probe is about the keys of a JSON body")
    return Said(Table({"messages": [body.pop("messages")]}), body, reference)


def _reference(sample: Sample) -> str:
    if isinstance(sample, Table):
        return JSON_FORMS[0]
    if isinstance(sample, Tensor | Tensors | Plain):
        return "inputs"
    return "document"
