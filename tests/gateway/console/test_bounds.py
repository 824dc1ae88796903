"""Whatever a model's owner wrote, and however much of it, what the pages keep and build of it is bounded."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.console.shown import show
from gateway.domain.models import Model, ModelDetails, ModelVersion
from tests.support.console_pages import get_html, get_state
from tests.support.mlflow_records import create_run, create_version, put_artifact, unique_name

if TYPE_CHECKING:
    from tests.support.gateways import Gateway
    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.asyncio(loop_scope="session")
LONG = "x" * 1_000_000
VERSIONS = 20_000


def create_files(server: MlflowServer, files: dict[str, str]) -> str:
    """Register a version with these files; return the model's name."""
    name, run = unique_name("bounds"), create_run(server, "0")
    server.call("registered-models/create", {"name": name})
    create_version(server, name, run)
    for path, text in files.items():
        put_artifact(server, f"{run['artifact_uri']}/model/{path}", text)
    return name


async def test_what_is_kept_of_a_model_is_bounded() -> None:
    """Long texts are cut, and of many versions the newest are kept; counts and reasons are of all."""
    many = {f"name {number:05}": "1" for number in range(5_000)}
    metrics = dict.fromkeys(many, 1.0)
    model = Model("big", "registry", LONG, {"long": LONG, **many}, many, latest="1")
    version = ModelVersion("big", "1", "registry", "READY", "uri", "", description=LONG, tags={"long": LONG})
    versions = [replace(version, metrics=metrics, aliases=tuple(many))] * VERSIONS
    shown = show(ModelDetails(model, tuple(versions)), setting="")
    assert (shown.total, shown.summary.versions, len(shown.versions)) == (VERSIONS, VERSIONS, 100)
    assert (len(shown.aliases), shown.more_tags) == (50, 4_901)
    assert len(repr(shown)) < 100_000


@pytest.mark.parametrize(
    "files",
    [
        {"serving_input_example.json": "[" * 1024 + "]" * 1024},
        {"MLmodel": "signature:\n  inputs: '" + "[" * 300 + "]" * 300 + "'"},
        {"MLmodel": 'signature:\n  inputs: \'[{"name": {"a": [1]}, "type": ["long"]}, 7, null]\''},
        {"MLmodel": "signature:\n  inputs: '{}'\n  params: '[{\"name\": \"p\"}, []]'"},
        {"requirements.txt": "-r x\n" + "a'; $(touch x)`id`\n" * 3_000},
    ],
    ids=["deep example", "deep signature", "odd columns", "odd params", "odd requirements"],
)
async def test_the_page_of_a_version_with_odd_files(
    mlflow_server: MlflowServer, gateway: Gateway, files: dict[str, str]
) -> None:
    """It is shown, and so is its JSON; none of them is a fault of the gateway, or large."""
    name = create_files(mlflow_server, {"MLmodel": "flavors: {}"} | files)
    status, html = await get_html(gateway, f"/ui/models/{name}/1")
    assert status == 200
    assert len(html) < 100_000
    async with gateway.get(f"/model/{name}/1") as answer:
        assert answer.status == 200


async def test_a_poll_of_a_model_with_many_aliases(mlflow_server: MlflowServer, gateway: Gateway) -> None:
    """It has as many of them as its page."""
    name = create_files(mlflow_server, {"MLmodel": "flavors: {}"})
    for number in range(60):
        alias = {"name": name, "alias": f"alias{number:02}", "version": "1"}
        mlflow_server.call("registered-models/alias", alias)
    status, html = await get_html(gateway, f"/ui/models/{name}")
    _, state = await get_state(gateway, f"view=model&name={name}")
    named = [field for field in state["fields"] if field.startswith("alias:")]
    assert status == 200
    assert len(named) == html.count('data-live="alias:') == 50
    assert len(json.dumps(state)) < 10_000
