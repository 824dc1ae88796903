"""In Arrow and Open Inference a model answers what it does on the same data in this process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.zoo.asking import canonical, model_says, unwrapped
from tests.zoo.cases import Case
from tests.zoo.own import back
from tests.zoo.own.cases import OWN_FORMS, OwnCase, own_cases
from tests.zoo.probes import ENTRIES
from tests.zoo.table.own import CANNOT, OTHERWISE
from tests.zoo.test_differential import alike, of

if TYPE_CHECKING:
    import aiohttp

    from tests.support.gateways import Gateway
    from tests.zoo.conftest import Counts, Zoo

CASES, WITHOUT = own_cases()
STATUS = {"answers": 200, "refuses": 400, "raises": 500, "has no form": 500}


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_case(
    zoo_gateway: Gateway,
    session: aiohttp.ClientSession,
    peer: str,
    zoo: Zoo,
    counts: Counts,
    *,
    case: OwnCase,
) -> None:
    """What the model answers in this process; or, by the table, what the gateway does on the same in JSON."""
    model = case.entry.model
    if model in zoo.absent:
        counts.ended[model, case.form, "absent"] += 1
        pytest.skip(zoo.absent[model])
    end = "failed"
    try:
        sent = case.sent
        async with zoo_gateway.post(sent.path, data=sent.content, headers=sent.headers()) as answer:
            content, status = await answer.read(), answer.status
            length = int(answer.headers.get("Inference-Header-Content-Length", len(content)))
        status_wanted, wanted = await expected(session, f"{peer}/direct/{model}", case)
        assert status == status_wanted, f"{content[:600]!r} | {wanted}"
        if status == 200:
            assert holds(case.form, content, length=length, wanted=wanted), f"{content[:600]!r} | {wanted}"
        end = "equal"
    finally:
        counts.ended[model, case.form, end] += 1


async def expected(session: aiohttp.ClientSession, url: str, case: OwnCase) -> tuple[int, Any]:
    """The status and the predictions that the case is to have."""
    otherwise = [row for row in OTHERWISE if case.name in row.cases]
    assert len(otherwise) < 2, f"{case.name} is named twice"
    difference = of(Case(case.entry, case.probe, case.named, case.reference))
    itself = await model_says(session, url, case.reference)
    status = difference.gateway if difference else STATUS[itself.outcome]
    source = difference.source if difference else "model"
    if otherwise:
        assert (otherwise[0].status, otherwise[0].source) != (status, source), "it is not otherwise any more"
        status, source = otherwise[0].status, otherwise[0].source
    if status != 200 or source == "model":
        return status, itself.value
    return status, await alike(session, url, case.probe) if source == "like" else case.probe.expect


def holds(form: str, content: bytes, *, length: int, wanted: Any) -> bool:
    """Whether the answer is the predictions."""
    if form == "arrow":
        return canonical(unwrapped(json.loads(content))) == canonical(wanted)
    content_type, tensors = back.outputs(content, length)
    return back.stand_for(content_type, tensors, wanted)


def test_every_form_of_every_probe_is_a_case_or_is_told_why_not(counts: Counts) -> None:
    """No probe is skipped without a line in the table of those that a form cannot say."""
    listed = {
        f"{probe}/{form}": reason
        for reason, lines in CANNOT.items()
        for forms, probes in lines
        for form in forms.split()
        for probe in probes
    }
    assert listed == WITHOUT
    for name in WITHOUT:
        model, _, form = name.split("/")
        counts.ended[model, form, "not applicable"] += 1
    every = {
        f"{entry.model}/{probe.name}/{form}"
        for entry in ENTRIES
        for probe in entry.probes
        for form in OWN_FORMS
    }
    assert {case.name for case in CASES} | WITHOUT.keys() == every


def test_the_table_names_cases_that_exist() -> None:
    """Each exception is of a case that there is."""
    known = {case.name for case in CASES}
    assert {name for row in OTHERWISE for name in row.cases} <= known
