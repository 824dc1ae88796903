"""Where files are: each form of MLflow's indirection, on a real server, down to the MLmodel itself."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from gateway.catalog.locations import resolve_uri
from gateway.domain.refs import Latest, ModelRef, Number
from gateway.errors import ArtifactLocationForbidden, ArtifactsNotFound, VersionNotServable
from gateway.mlflow_client import MlflowClient
from gateway.settings import load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.catalog import Catalog
    from tests.gateway.catalog.conftest import Seeded


@pytest.fixture
async def client(seeded: Seeded) -> AsyncIterator[MlflowClient]:
    async with MlflowClient(load({"MLFLOW_TRACKING_URI": seeded.server.url}).mlflow) as client:
        yield client


@pytest.mark.parametrize(
    ("ref", "scheme"),
    [
        (ModelRef("wine", Number(1)), "models:/m-"),
        (ModelRef("copied", Number(1)), "models:/"),
        (ModelRef("by-run", Number(1)), "runs:/"),
        (ModelRef("by-run", Number(2)), "runs:/"),
        (ModelRef("forest", Latest()), "models:/m-"),
    ],
)
async def test_files_are_found(catalog: Catalog, client: MlflowClient, ref: ModelRef, scheme: str) -> None:
    """Logged models, copies of versions, runs with a logged model, runs that hold the files themselves."""
    version = (await catalog.resolve(ref)).version
    assert version.uri.startswith(scheme)
    uri = await catalog.resolve_uri(version)
    assert uri.startswith("mlflow-artifacts:/")
    names = {entry.path for entry in await client.list_artifacts(uri.removeprefix("mlflow-artifacts:/"))}
    assert "MLmodel" in names


async def test_both_ways_to_one_model_end_in_one_place(catalog: Catalog) -> None:
    """A version by its run and one by its logged model are the same files."""
    one = (await catalog.resolve(ModelRef("wine", Number(1)))).version
    other = (await catalog.resolve(ModelRef("by-run", Number(1)))).version
    assert await catalog.resolve_uri(one) == await catalog.resolve_uri(other)


async def test_a_run_without_a_model_has_no_place(catalog: Catalog) -> None:
    """Its details can be asked for; its files cannot."""
    with pytest.raises(VersionNotServable, match="has no model"):
        await catalog.resolve_uri(await catalog.get_version(ModelRef("forest", Number(2))))


@pytest.mark.parametrize("uri", ["s3://bucket/key", "file:///srv/x", "mlflow-artifacts:/1/x", "dbfs:/x"])
async def test_a_stores_own_address_is_left_as_it_is(client: MlflowClient, uri: str) -> None:
    """Whether it may be read is decided elsewhere."""
    assert await resolve_uri(client, uri) == uri


def _make_circle(seeded: Seeded) -> None:
    """MLflow's API refuses such a source; other registries may not, and it may be renamed into one."""
    seeded.server.call("registered-models/create", {"name": "circle"})
    seeded.server.call("model-versions/create", {"name": "circle", "source": "models:/wine/1"})
    with sqlite3.connect(seeded.server.folder / "mlflow.db") as database:
        text = "UPDATE model_versions SET source = :to, storage_location = :to WHERE name = 'circle'"
        database.execute(text, {"to": "models:/circle/1"})
    database.close()


@pytest.mark.parametrize(
    ("uri", "error", "text"),
    [
        ("models:/m-0123", ArtifactsNotFound, "model .* is gone"),
        ("models:/nothing/1", ArtifactsNotFound, "model .* is gone"),
        ("models:/wine/latest", ArtifactLocationForbidden, "no fixed version"),
        ("models:/wine@champion", ArtifactLocationForbidden, "no fixed version"),
        (f"runs:/{'0' * 32}/model", ArtifactsNotFound, "run .* is gone"),
        ("runs:/abc", ArtifactsNotFound, "no files of it"),
        ("models:/circle/1", ArtifactLocationForbidden, "without an end"),
    ],
)
async def test_a_step_that_leads_nowhere_is_told(
    client: MlflowClient, seeded: Seeded, uri: str, error: type[Exception], text: str
) -> None:
    """A version whose source names itself ends after a few steps."""
    if "circle" in uri:
        _make_circle(seeded)
    with pytest.raises(error, match=text):
        await resolve_uri(client, uri)
