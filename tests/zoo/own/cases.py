"""Every case of the forms that MLflow's server does not have, and those that there cannot be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.zoo.forms import JSON, Body, body
from tests.zoo.own import arrow, v2
from tests.zoo.own.said import CannotSay, Said, said
from tests.zoo.probes import ENTRIES
from tests.zoo.samples import Probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.zoo.samples import Entry


@dataclass(frozen=True, slots=True)
class Sent:
    """One request; `json_length` is said of an Open Inference body that has bytes after its JSON."""

    path: str
    media_type: str
    content: bytes
    json_length: int | None = None

    def headers(self) -> dict[str, str]:
        """The request's own."""
        own = {"Content-Type": self.media_type}
        return (
            own
            if self.json_length is None
            else {**own, "Inference-Header-Content-Length": str(self.json_length)}
        )


@dataclass(frozen=True, slots=True)
class OwnCase:
    """One request to a model, and the body in JSON that says the same to MLflow."""

    entry: Entry
    probe: Probe
    form: str
    sent: Sent
    reference: Body
    named: str

    @property
    def name(self) -> str:
        """`model/probe/form`."""
        return f"{self.entry.model}/{self.probe.name}/{self.form}"


def _arrow(model: str, what: Said) -> Sent:
    return Sent(f"/model/{model}/1/invocation", arrow.MEDIA_TYPE, arrow.write(what))


def _v2_json(model: str, what: Said) -> Sent:
    return Sent(f"/v2/models/{model}/versions/1/infer", JSON, v2.in_json(what))


def _v2_binary(model: str, what: Said) -> Sent:
    document, raw = v2.in_binary(what)
    path = f"/v2/models/{model}/versions/1/infer"
    return Sent(path, "application/octet-stream", document + raw, len(document))


OWN_FORMS: dict[str, Callable[[str, Said], Sent]] = {
    "arrow": _arrow,
    "v2_json": _v2_json,
    "v2_binary": _v2_binary,
}


def own_cases() -> tuple[list[OwnCase], dict[str, str]]:
    """All of them, and `model/probe/form` → why there is none."""
    found: list[OwnCase] = []
    cannot: dict[str, str] = {}
    for entry, probe in [(owner, probe) for owner in ENTRIES for probe in owner.probes]:
        for form, send in OWN_FORMS.items():
            try:
                what = said(probe)
                sent = send(entry.model, what)
            except CannotSay as reason:
                cannot[f"{entry.model}/{probe.name}/{form}"] = str(reason)
                continue
            same = body(Probe(probe.name, probe.sample, params=probe.params), what.reference)
            assert same is not None
            found.append(OwnCase(entry, probe, form, sent, same, what.reference))
    return found, cannot
