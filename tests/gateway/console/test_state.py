"""Proves what pages poll: what changed, once for all who ask at about the same time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gateway.api.keys import COMPONENTS
from gateway.console.console import CONSOLE
from gateway.console.response_cache import CachedResponse, ResponseCache
from gateway.console.rows import LIVE
from tests.support.console_pages import get_state, known_rows
from tests.support.gateways import Gateway, gateway_at, invoke
from tests.support.manual_clock import ManualClock
from tests.support.mlflow_records import create_model
from tests.support.waiting import poll, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_rows_have_the_state_of_each_model(gateway: Gateway) -> None:
    """By name, in the order of the page's columns."""
    assert (await invoke(gateway, "/model/api-sums/2/invocation"))[0] == 200
    row = (await known_rows(gateway, "q=api-sums"))["api-sums"]
    assert row["state"] == "warm"
    assert "v2" in row["state_text"]
    assert row["aliases"] == "@champion v2"


async def test_what_did_not_change_is_not_sent_again(gateway: Gateway) -> None:
    """The tag of the last answer gets 304 without a body."""
    path = "/console/state?view=model&name=api-tens"
    async with gateway.get(path) as first:
        tag = first.headers["ETag"]
    async with gateway.get(path, headers={"If-None-Match": tag}) as second:
        assert second.status in {200, 304}  # figures of the machine's memory may have changed
        assert second.status == 200 or await second.read() == b""
    async with gateway.get("/console/charts") as charts:
        tag = charts.headers["ETag"]
    async with gateway.get("/console/charts", headers={"If-None-Match": tag}) as again:
        assert (again.status, await again.read()) == (304, b"") or again.headers["ETag"] != tag


async def test_open_pages_share_what_is_built(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty polls of one view at once build one response; a later one within a second builds none."""
    clock = ManualClock()
    monkeypatch.setattr(gateway.app[CONSOLE], "responses", ResponseCache(clock))
    built: list[str] = []
    build = CachedResponse.of

    def counted(document: dict[str, Any]) -> CachedResponse:
        built.append(document["cursor"])
        return build(document)

    monkeypatch.setattr(CachedResponse, "of", counted)
    polls = (get_state(gateway, "view=models&q=api-&after=") for _ in range(50))
    assert {status for status, _ in await asyncio.gather(*polls)} == {200}
    await get_state(gateway, "view=models&q=api-&after=")
    assert len(built) == 1
    clock.advance(1.1)
    await get_state(gateway, "view=models&q=api-&after=")
    assert len(built) == 2


async def test_a_moved_alias_is_seen(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """The row of an open page has the alias' new version once MLflow's answer is old."""
    name = create_model(mlflow_server, versions=2)
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_CATALOG_TTL_SECONDS="0.1") as own:
        alias = {"name": name, "alias": "champion"}

        async def find_alias() -> tuple[str, str]:
            _, state = await get_state(own, f"view=models&q={name}")
            _, of_model = await get_state(own, f"view=model&name={name}")
            return state["rows"][name][LIVE.index("aliases")], of_model["fields"].get("alias:champion")

        for version in ("1", "2"):
            mlflow_server.call("registered-models/alias", {**alias, "version": version})

            await poll(find_alias, (f"@champion v{version}", f"version {version}").__eq__)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 200),
        ("view=nothing", 200),
        ("view=model&name=nowhere", 404),
        ("view=version&name=api-wine&version=x", 404),
        ("view=models&page=!!", 400),
        ("view=models&after=%00%ff", 200),
        ("view=models&q=" + "x" * 5000, 400),
        ("view=version&name=%00&version=1", 200),
    ],
)
async def test_any_query_gets_an_answer(gateway: Gateway, query: str, status: int) -> None:
    """Wrong ones are refused by name, never by a fault of the gateway."""
    assert (await get_state(gateway, query))[0] == status


async def test_a_poll_asks_mlflow_for_no_model(gateway: Gateway) -> None:
    """Whatever a page lists, polls within the lifetime of MLflow's answers cost no further calls."""
    await get_state(gateway, "view=models&q=api")
    console = gateway.app[CONSOLE]
    await until(lambda: not console.summaries.running)
    counts = gateway.app[COMPONENTS].counters.counts
    before = sum(count for (spec, _), count in counts.items() if spec.name == "mlflow_requests")
    for number in range(20):
        await get_state(gateway, f"view=models&q=api&n={number}")
    after = sum(count for (spec, _), count in counts.items() if spec.name == "mlflow_requests")
    assert after - before <= 2  # the list itself, if its lifetime ended
