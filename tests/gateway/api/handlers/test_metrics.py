"""Proves what GET /metrics returns, and that docs/metrics.md lists the same metrics."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml
from prometheus_client.openmetrics import parser as openmetrics

from gateway.api.handlers.metrics import ALL_METRICS
from tests.support.gateways import ROOT, Gateway, invoke
from tests.support.metrics_page import Shown, shown
from workers.metrics import COUNTER_SPECS

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.asyncio(loop_scope="session")

NAME = r"\b(?:gateway|process)_[a-z_]*[a-z]\b"
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


async def page(gateway: Gateway, accept: str | None = None) -> tuple[str, str]:
    """Return the content type and the page."""
    headers = {"Accept": accept} if accept is not None else {}
    async with gateway.get("/metrics", headers=headers) as answer:
        assert answer.status == 200
        return answer.headers["Content-Type"], await answer.text()


async def test_prometheus_text(gateway: Gateway) -> None:
    """Prometheus' text format is the default."""
    content_type, text = await page(gateway)
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert Shown(text).of("gateway_process_starts_total") == 1


async def test_openmetrics(gateway: Gateway) -> None:
    """Prometheus' own Accept header selects OpenMetrics, and its strict parser accepts the page."""
    assert (await invoke(gateway, "/model/api-sums/1/invocation"))[0] == 200
    content_type, text = await page(gateway, PROMETHEUS)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    parsed = openmetrics.text_string_to_metric_families(text)  # type: ignore[no-untyped-call] # it has no types
    found = {metric.name: metric.type for metric in parsed}
    assert found == {metric.name: metric.kind for metric in ALL_METRICS}


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
async def test_an_invalid_accept_header(gateway: Gateway, accept: str) -> None:
    """It selects the text format, and nothing of it is repeated in the response."""
    content_type, text = await page(gateway, accept)
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert Shown(text).of("gateway_internal_errors_total") == 0


async def test_every_metric_exists_from_the_start(gateway: Gateway) -> None:
    """Each metric has its documentation; a counter without labels is 0, and each gauge has a value."""
    _, text = await page(gateway)
    found = {metric.name: metric for metric in Shown(text).families}
    assert {metric.name for metric in ALL_METRICS} == set(found)
    assert {f"gateway_{spec.name}" for spec in COUNTER_SPECS} <= set(found)
    for metric in ALL_METRICS:
        assert found[metric.name].documentation == metric.documentation
        labels = [set(sample.labels) - {"le"} for sample in found[metric.name].samples]
        assert all(each == set(metric.exposed_labels) for each in labels)
        if set(metric.exposed_labels) <= {"process"}:
            assert labels, metric.name


async def test_the_phases_of_predictions(gateway: Gateway) -> None:
    """A model that is loaded already counts for three phases, and its whole time by its version."""
    path = "/model/api-sums/1/invocation"
    assert (await invoke(gateway, path))[0] == 200
    before = await shown(gateway)
    assert (await invoke(gateway, path))[0] == 200
    assert (await invoke(gateway, path, b'{"inputs": [{"a": "x"}]}'))[0] == 400
    after = await shown(gateway)

    def increase(name: str, **labels: str) -> float:
        return after.of(name, **labels) - before.of(name, **labels)

    version = {"model": "api-sums", "version": "1"}
    for phase, count in {"resolve": 1, "queue": 1, "predict": 1, "load": 0, "download": 0}.items():
        assert increase("gateway_phase_duration_seconds_count", **version, phase=phase) == count
    assert before.of("gateway_phase_duration_seconds_count", **version, phase="load") >= 1
    assert increase("gateway_model_prediction_duration_seconds_count", **version) == 1
    phases = increase("gateway_phase_duration_seconds_sum", **version)
    total = increase("gateway_model_prediction_duration_seconds_sum", **version)
    assert 0 < phases == pytest.approx(total)
    assert (increase("gateway_batch_rows_count"), increase("gateway_batch_rows_sum")) == (1, 2)
    assert increase("gateway_batch_requests_sum") == increase("gateway_queue_wait_seconds_count") == 2
    assert after.of("gateway_model_load_duration_seconds_count", outcome="loaded") >= 1
    assert after.of("gateway_artifact_download_duration_seconds_count", outcome="ok") >= 1
    assert after.of("gateway_build_info") == 1


async def test_routes_are_patterns(gateway: Gateway) -> None:
    """A route counts by its pattern, whatever the path; a trailing slash changes nothing; HEAD is not GET."""
    before = await shown(gateway)
    for number in range(5):
        async with gateway.get(f"/model/missing-{number}/{number}") as answer:
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

    def increase(**labels: str) -> float:
        name = "gateway_http_requests_total"
        return after.of(name, **labels) - before.of(name, **labels)

    assert increase(method="GET", route="/model/{name}/{version}", code="404") == 5
    assert increase(method="GET", route="none", code="404") == 5
    assert increase(method="other", route="none", code="405") == 5
    assert increase(method="HEAD", route="/health/live", code="200") == 1
    assert increase(method="GET", route="/health/live", code="200") == 1
    assert increase(method="GET", route="/metrics", code="200") == 1
    assert after.of("gateway_predictions_total", model="missing-1") == 0


async def test_labels_name_only_existing_models(gateway: Gateway) -> None:
    """A name invented by a client is in no label; an invalid request to an existing model counts for it."""
    for path in ("/model/invented/1", "/model/api-sums/77", "/model/api-sums/@invented"):
        assert (await invoke(gateway, f"{path}/invocation"))[0] == 404
    before = await shown(gateway)
    assert (await invoke(gateway, "/model/api-sums/latest/invocation", b'{"inputs": [{"a": "x"}]}'))[0] == 400
    async with gateway.post("/v2/models/api-sums/infer", json={"inputs": []}) as answer:
        assert answer.status == 400
    after = await shown(gateway)
    labels = {"model": "api-sums", "version": "3", "code": "400"}
    assert (
        after.of("gateway_predictions_total", **labels)
        == before.of("gateway_predictions_total", **labels) + 2
    )
    _, text = await page(gateway)
    assert "invented" not in text
    assert 'version="77"' not in text


def series_names() -> Iterator[str]:
    """Yield the names of all series."""
    for metric in ALL_METRICS:
        yield metric.exposed_name
        if metric.kind == "histogram":
            yield from (f"{metric.name}{end}" for end in ("_bucket", "_count", "_sum"))


def _documented() -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    text = (ROOT / "docs" / "metrics.md").read_text()
    for name, kind, labels, meaning in re.findall(
        r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.*) \|$", text, re.MULTILINE
    ):
        yield name, kind, tuple(re.findall(r"`(\w+)`", labels)), meaning


async def test_every_metric_is_documented() -> None:
    """The documentation has its type, labels and meaning, and lists no other metric."""
    assert list(_documented()) == [
        (metric.exposed_name, metric.kind, metric.exposed_labels, metric.documentation)
        for metric in ALL_METRICS
    ]


async def test_the_documented_expressions() -> None:
    """The expressions in docs/metrics.md use only existing metrics."""
    text = (ROOT / "docs" / "metrics.md").read_text()
    assert set(re.findall(NAME, text)) - {"process_"} <= set(series_names())


async def test_the_alerts() -> None:
    """Each rule of docs/alerts.yml uses only existing metrics and labels, and says what to do."""
    rules = [
        rule
        for group in yaml.safe_load((ROOT / "docs" / "alerts.yml").read_text())["groups"]
        for rule in group["rules"]
    ]
    labels = {label for metric in ALL_METRICS for label in metric.exposed_labels} | {"le", "job", "instance"}
    for rule in rules:
        names = set(re.findall(NAME, rule["expr"]))
        assert names, rule["alert"]
        assert names <= set(series_names()), rule["alert"]
        text = "".join(rule["annotations"].values())
        used = re.findall(r"\$labels\.(\w+)", text) + re.findall(r"(\w+)=~?\"", rule["expr"])
        assert set(used) <= labels, rule["alert"]
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert set(rule["annotations"]) == {"summary", "description"}
    assert len({rule["alert"] for rule in rules}) == len(rules)
