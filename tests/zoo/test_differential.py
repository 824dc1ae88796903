"""The gateway, MLflow's scoring server and the model itself answer the same bytes alike, or as documented."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.zoo.asking import Predicted, Told, agree, canonical, gateway_says, model_says, server_says
from tests.zoo.cases import Case, cases
from tests.zoo.forms import body
from tests.zoo.samples import Probe
from tests.zoo.table import DIFFERENCES

if TYPE_CHECKING:
    import aiohttp

    from tests.support.gateways import Gateway
    from tests.zoo.conftest import Counts, Zoo
    from tests.zoo.differences import Difference


CASES = cases()
NOT_TOLD = ("Traceback", 'File "', "/secret", ".venv", "site-packages", "/tests/zoo", "mlflow.exceptions")


def of(case: Case) -> Difference | None:
    """The difference that is documented for this case."""
    found = [difference for difference in DIFFERENCES if difference.holds_for(case)]
    assert len(found) < 2, f"{case.name} is named twice"
    return found[0] if found else None


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_case(
    zoo_gateway: Gateway, session: aiohttp.ClientSession, peer: str, zoo: Zoo, counts: Counts, *, case: Case
) -> None:
    """One body: all three agree, or differ exactly as the table of differences says."""
    model, difference = case.entry.model, of(case)
    if model in zoo.absent:
        counts.ended[model, case.form, "absent"] += 1
        pytest.skip(zoo.absent[model])
    end = "failed"
    try:
        here = await gateway_says(zoo_gateway, model, case.body)
        there = await server_says(session, f"{peer}/served/{model}/invocations", case.body)
        itself = await model_says(session, f"{peer}/direct/{model}", case.body)
        tells_nothing(here)
        in_mlflows_form(await gateway_says(zoo_gateway, model, case.body, route="invocations"), here)
        if difference is None:
            agree(here, there, itself=itself)
        else:
            like = await alike(session, f"{peer}/direct/{model}", case.probe)
            differ(
                here,
                there,
                itself=itself,
                difference=difference,
                wanted={"like": like, "expect": case.probe.expect},
            )
        end = "differs" if difference else "equal"
    finally:
        counts.ended[model, case.form, end] += 1


def differ(
    here: Told, there: Told, *, itself: Predicted, difference: Difference, wanted: dict[str, Any]
) -> None:
    """Each side does what the table says, and the gateway's answer is the right one."""
    seen = (there.status, here.status, itself.outcome)
    stated = (difference.server, difference.gateway, difference.model)
    assert seen == stated, f"{here.text} | {there.text[:400]} | {itself}"
    assert difference.reason in here.text
    if here.status == 500:
        assert itself.type in here.text
    if here.status == 200:
        right = itself.value if difference.source == "model" else wanted[difference.source]
        assert here.canonical == canonical(right)
        assert here.canonical != there.canonical, "there is no difference any more"
    if difference.translate is not None:
        assert here.canonical == canonical(difference.translate(there.value))


async def alike(session: aiohttp.ClientSession, url: str, probe: Probe) -> Any:
    """What the model itself answers on the probe's `like`, or on the probe itself where it has none."""
    sent = body(Probe(probe.name, probe.like or probe.sample, params=probe.params), "dataframe_split")
    if sent is None:
        return None
    return (await model_says(session, url, sent)).value


def tells_nothing(here: Told) -> None:
    """An error has the contract's shape, and neither a trace nor a path in it."""
    if here.status != 200:
        assert set(here.value) - {"details", "details_total"} == {"error_code", "message", "request_id"}
        assert [text for text in NOT_TOLD if text in json.dumps(here.value)] == []


def in_mlflows_form(told: Told, here: Told) -> None:
    """`/invocations` says the same in MLflow's form: predictions alone, 400 for what a model raised."""
    document, other = json.loads(told.text), json.loads(here.text)
    if here.status == 200:
        assert told.status == 200
        if isinstance(other, dict) and other.keys() == {"predictions", "model"}:
            del other["model"]
        assert canonical(document) == canonical(other)
        return
    tells_nothing(told)
    raised = here.status == 500
    assert told.status == (400 if raised else here.status)
    assert document["error_code"] == ("BAD_REQUEST" if raised else other["error_code"])
    assert [document.get(name) for name in ("message", "details")] == [
        other.get(name) for name in ("message", "details")
    ]


def test_the_table_names_cases_that_exist() -> None:
    """Each line of the table of differences names a probe, and only forms that it has."""
    known = {(f"{case.entry.model}/{case.probe.name}", case.form) for case in CASES}
    names = {name for name, _ in known}
    for difference in DIFFERENCES:
        assert difference.cases
        for named in difference.cases:
            name, _, forms = named.partition(": ")
            assert name in names, named
            assert {(name, form) for form in forms.split()} <= known, named


def test_the_zoo_is_large_enough() -> None:
    """At least 25 models, of which only PyTorch's may be absent."""
    entries = {case.entry.model: case.entry for case in CASES}
    assert len(entries) >= 25
    assert {entry.needs for entry in entries.values()} == {"", "torch"}
