"""A caller that may read some models learns of no other by the pages, and its polls cost MLflow nothing."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator  # noqa: TC003 - pytest reads the types of fixtures
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from yarl import URL

from gateway.api.keys import COMPONENTS
from gateway.auth.grants import parse_grants
from gateway.auth.principal import Principal
from gateway.console.console import CONSOLE
from tests.support.console_pages import get_html, get_state
from tests.support.gateways import Gateway, gateway_for
from tests.support.mlflow_records import create_experiment, create_model
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.asyncio(loop_scope="session")
OTHER = "another-model-of-a-secret-name"
AS_TEAM = {"X-Caller": "team"}


@pytest.fixture(scope="module")
def names(mlflow_server: MlflowServer) -> list[str]:
    """A model, and an experiment, whose runs MLflow is asked for if it is listed."""
    return [create_model(mlflow_server), create_experiment(mlflow_server, runs=1)[0]]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def restricted(
    mlflow_server: MlflowServer, names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    """A gateway whose caller `team` may read these alone."""
    callers = {"team": Principal("team", "keys", parse_grants({"read": names}))}
    cache = tmp_path_factory.mktemp("cache")
    async with gateway_for(callers, mlflow_server.url, cache, GATEWAY_CATALOG_TTL_SECONDS="600") as gateway:
        yield gateway


def fail_to_load(name: str, reason: str = "no such package") -> None:
    """Log what the pool logs if a model fails."""
    fields = {"event": "model_load_failed", "model": f"{name}/1", "reason": reason}
    logging.getLogger("workers").warning("Loading failed", extra=fields)


async def test_events_of_other_models_leave_no_trace(restricted: Gateway, names: list[str]) -> None:
    """Neither by text, nor by a cursor or a tag that changed, nor by crowding out those that may be seen."""
    path = "/console/state?view=events&after="
    await get_html(restricted, "/", **AS_TEAM)  # from now on MLflow was reached, and no banner says otherwise
    fail_to_load(names[0])
    async with restricted.get(path, headers=AS_TEAM) as answer:
        before, tag = await answer.json(), answer.headers["ETag"]
    assert [event["model"] for event in before["events"]] == [names[0]]
    for number in range(100):
        fail_to_load(OTHER, f"reason {number}")
    async with restricted.get(path, headers=AS_TEAM | {"If-None-Match": tag}) as answer:
        assert answer.status == 304
    _, state = await get_state(restricted, f"view=events&after={before['cursor']}", **AS_TEAM)
    assert (state["events"], state["cursor"]) == ([], before["cursor"])
    for page in ("/", "/ui/events", f"/ui/models/{names[0]}"):
        _, html = await get_html(restricted, page, **AS_TEAM)
        assert OTHER not in html
        assert f'data-cursor="{before["cursor"]}"' in html
    _, everything = await get_state(restricted, "view=events&after=")
    assert {event["model"] for event in everything["events"]} == {OTHER}


async def test_polls_ask_mlflow_for_nothing(restricted: Gateway) -> None:
    """As those of callers who may read all: a list is looked up once in its lifetime."""
    await get_state(restricted, "view=models", **AS_TEAM)
    await until(lambda: not restricted.app[CONSOLE].summaries.running)
    counts = restricted.app[COMPONENTS].counters.counts

    def calls() -> int:
        return sum(count for (spec, _), count in counts.items() if spec.name == "mlflow_requests")

    before = calls()
    for number in range(10):
        status, state = await get_state(restricted, f"view=models&n={number}", **AS_TEAM)
        assert (status, len(state["rows"])) == (200, 2)
    assert calls() == before


async def test_traffic_needs_the_right_to_see_it(restricted: Gateway, names: list[str]) -> None:
    """What waits and runs tells how much others use a model."""
    query = f"view=version&name={names[0]}&version=1"
    for headers, shown in ((AS_TEAM, "–"), ({}, "0")):  # noqa: RUF001 - as the pages have it
        _, state = await get_state(restricted, query, **headers)
        assert {state["fields"][f"version:{name}"] for name in ("waiting", "running")} == {shown}


async def test_queries_that_look_alike_share_nothing(restricted: Gateway) -> None:
    """A name may have `&` in it: decoded, its query reads as another one."""
    for query in ("view=models&q=zz%26only%3Dwarm", "view=models&q=zz&only=warm"):
        url = URL(f"/console/state?{query}", encoded=True)
        async with restricted.get(url) as answer:
            assert answer.headers["Cache-Control"] == "private, no-cache"
    responses = restricted.app[CONSOLE].responses
    assert "state True view=models&q=zz%26only%3Dwarm" in responses


async def test_a_tag_of_another_caller_is_not_that_of_this_one(restricted: Gateway) -> None:
    """It does not tell that nothing changed: what this one may see is something else."""
    for query in ("view=models", "view=gateway"):
        async with restricted.get(f"/console/state?{query}") as answer:
            tag = answer.headers["ETag"]
        headers = AS_TEAM | {"If-None-Match": tag}
        async with restricted.get(f"/console/state?{query}", headers=headers) as answer:
            assert (answer.status, answer.headers["ETag"] == tag) == (200, False)
