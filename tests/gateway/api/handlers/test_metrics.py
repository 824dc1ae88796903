"""Proves what GET /metrics answers, and that the page of documentation says it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from prometheus_client.openmetrics import parser as openmetrics

from gateway.api.handlers.metrics import ALL_METRICS
from gateway.telemetry.metrics import definitions
from tests.support.gateways import ROOT, Gateway, invoke
from tests.support.metrics_page import Shown, shown
from workers.metrics import COUNTER_SPECS

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.asyncio(loop_scope="session")

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


async def page(gateway: Gateway, accept: str | None = None) -> tuple[str, str]:
    """The content type and the page."""
    headers = {"Accept": accept} if accept is not None else {}
    async with gateway.get("/metrics", headers=headers) as answer:
        assert answer.status == 200
        return answer.headers["Content-Type"], await answer.text()


async def test_prometheus_text(gateway: Gateway) -> None:
    """The form that has no name in Accept."""
    content_type, text = await page(gateway)
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert Shown(text).of("gateway_process_starts_total") == 1


async def test_openmetrics(gateway: Gateway) -> None:
    """What Prometheus itself asks for; its strict parser takes it."""
    assert (await invoke(gateway, "/model/api-sums/1/invocation"))[0] == 200
    content_type, text = await page(gateway, PROMETHEUS)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    parsed = openmetrics.text_string_to_metric_families(text)  # type: ignore[no-untyped-call] # it has no types
    found = {family.name: family.type for family in parsed}
    assert found == {family.name: family.kind for family in ALL_METRICS}


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text;version=abc",
        "application/openmetrics-text; version=",
        "text/plain; version=<script>",
        "application/openmetrics-text;version=1.0.0 trailing",
        "application/openmetrics-text;version=" + "9" * 5000,
        "nonsense",
        "",
    ],
)
async def test_an_accept_that_makes_no_sense(gateway: Gateway, accept: str) -> None:
    """The plain form, and nothing of it is said back."""
    content_type, text = await page(gateway, accept)
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert Shown(text).of("gateway_unexpected_errors_total") == 0


async def test_everything_is_there_from_the_beginning(gateway: Gateway) -> None:
    """Each family with its meaning; a counter without labels is 0, each gauge has a value."""
    _, text = await page(gateway)
    found = {family.name: family for family in Shown(text).families}
    assert {family.name for family in ALL_METRICS} == set(found)
    assert {f"gateway_{event.name}" for event in COUNTER_SPECS} <= set(found)
    for family in ALL_METRICS:
        assert found[family.name].documentation == family.documentation
        labels = [set(sample.labels) - {"le"} for sample in found[family.name].samples]
        assert all(each == set(family.exposed_labels) for each in labels)
        if set(family.exposed_labels) <= {"process"}:
            assert labels, family.name


async def test_routes_are_patterns(gateway: Gateway) -> None:
    """However many paths are asked for; a slash at the end makes no other route, and HEAD is not GET."""
    before = await shown(gateway)
    for number in range(5):
        async with gateway.get(f"/model/nobody-{number}/{number}") as answer:
            assert answer.status == 404
        async with gateway.get(f"/nowhere/{number}") as answer:
            assert answer.status == 404
        async with gateway.request("SEARCH", "/health/live/") as answer:
            assert answer.status == 405
    async with gateway.head("/health/live") as answer:
        assert answer.status == 200
    async with gateway.get("/health/live/") as answer:
        assert answer.status == 200
    after = await shown(gateway)

    def more(**labels: str) -> float:
        name = "gateway_requests_total"
        return after.of(name, **labels) - before.of(name, **labels)

    assert more(method="GET", route="/model/{name}/{version}", status="404") == 5
    assert more(method="GET", route="none", status="404") == 5
    assert more(method="other", route="none", status="405") == 5
    assert more(method="HEAD", route="/health/live", status="200") == 1
    assert more(method="GET", route="/health/live", status="200") == 1
    assert more(method="GET", route="/metrics", status="200") == 1
    assert after.of("gateway_invocations_total", model="nobody-1") == 0


async def test_only_names_that_were_found(gateway: Gateway) -> None:
    """A client's own inventions are in no label; what it sends to a model that is there counts for it."""
    for path in ("/model/invented/1", "/model/api-sums/77", "/model/api-sums/@invented"):
        assert (await invoke(gateway, f"{path}/invocation"))[0] == 404
    before = await shown(gateway)
    assert (await invoke(gateway, "/model/api-sums/latest/invocation", b'{"inputs": [{"a": "x"}]}'))[0] == 400
    async with gateway.post("/v2/models/api-sums/infer", json={"inputs": []}) as answer:
        assert answer.status == 400
    after = await shown(gateway)
    labels = {"model": "api-sums", "version": "3", "status": "400"}
    assert (
        after.of("gateway_invocations_total", **labels)
        == before.of("gateway_invocations_total", **labels) + 2
    )
    _, text = await page(gateway)
    assert "invented" not in text
    assert 'version="77"' not in text


def _documented() -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    text = (ROOT / "docs" / "metrics.md").read_text()
    for name, kind, labels, meaning in re.findall(
        r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.*) \|$", text, re.MULTILINE
    ):
        yield name, kind, tuple(re.findall(r"`(\w+)`", labels)), meaning


async def test_every_metric_is_documented() -> None:
    """With its type, its labels and its meaning, and there are no others on the page."""
    assert list(_documented()) == [
        (family.exposed_name, family.kind, family.exposed_labels, family.documentation)
        for family in ALL_METRICS
    ]


async def test_the_expressions_name_metrics_that_there_are() -> None:
    """Those of docs/metrics.md."""
    text = (ROOT / "docs" / "metrics.md").read_text()
    parts = {f"{definitions.PREDICTION_SECONDS.name}{end}" for end in ("_bucket", "_count", "_sum")}
    known = {family.exposed_name for family in ALL_METRICS} | parts
    assert set(re.findall(r"\b(?:gateway|process)_[a-z_]*[a-z]\b", text)) - {"process_"} <= known
