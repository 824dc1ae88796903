"""Proves on a real server that each form of MLflow's indirection leads to the model's files."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from gateway.catalog.locations import resolve_uri, strip_password
from gateway.domain.refs import Latest, ModelRef, Number
from gateway.errors import ArtifactLocationForbidden, ArtifactsNotFound, VersionNotServable
from gateway.mlflow_client import MlflowClient
from gateway.settings import load
from tests.support.mlflow_records import create_model

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.catalog import Catalog
    from tests.gateway.catalog.conftest import Seeded
    from tests.support.mlflow_server import MlflowServer


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
    """Logged models, copies of versions, runs with a logged model, runs with the files themselves."""
    version = (await catalog.resolve(ref)).version
    assert version.uri.startswith(scheme)
    uri = await catalog.resolve_uri(version)
    assert uri.startswith("mlflow-artifacts:/")
    names = {entry.path for entry in await client.list_artifacts(uri.removeprefix("mlflow-artifacts:/"))}
    assert "MLmodel" in names


async def test_a_run_and_its_logged_model_have_the_same_files(catalog: Catalog) -> None:
    """A version with a runs: URI and one with a models: URI resolve to one location."""
    one = (await catalog.resolve(ModelRef("wine", Number(1)))).version
    other = (await catalog.resolve(ModelRef("by-run", Number(1)))).version
    assert await catalog.resolve_uri(one) == await catalog.resolve_uri(other)


async def test_a_run_without_a_model_has_no_location(catalog: Catalog) -> None:
    """Its details can be read; its files cannot."""
    with pytest.raises(VersionNotServable, match="has no model"):
        await catalog.resolve_uri(await catalog.get_version(ModelRef("forest", Number(2))))


@pytest.mark.parametrize("uri", ["s3://bucket/key", "file:///srv/x", "mlflow-artifacts:/1/x", "dbfs:/x"])
async def test_a_stores_own_uri_is_not_changed(client: MlflowClient, uri: str) -> None:
    """Whether the gateway may read it is checked elsewhere."""
    assert await resolve_uri(client, uri) == uri


@pytest.mark.parametrize(
    ("uri", "error", "text"),
    [
        ("models:/m-0123", ArtifactsNotFound, "model .* does not exist"),
        ("models:/nothing/1", ArtifactsNotFound, "model .* does not exist"),
        ("models:/wine/latest", ArtifactLocationForbidden, "without a version number"),
        ("models:/wine@champion", ArtifactLocationForbidden, "without a version number"),
        (f"runs:/{'0' * 32}/model", ArtifactsNotFound, "run .* does not exist"),
        ("runs:/abc", ArtifactsNotFound, "without a path in it"),
    ],
)
async def test_a_broken_indirection_is_an_error(
    client: MlflowClient, uri: str, error: type[Exception], text: str
) -> None:
    """The message says which step has no target."""
    with pytest.raises(error, match=text):
        await resolve_uri(client, uri)


async def test_a_circular_indirection_ends(mlflow_server: MlflowServer) -> None:
    """A version whose source is itself: MLflow's API rejects that; other registries may not."""
    name = create_model(mlflow_server)
    uri = f"models:/{name}/1"
    with sqlite3.connect(mlflow_server.folder / "mlflow.db", timeout=60) as database:
        statement = "UPDATE model_versions SET source = :uri, storage_location = :uri WHERE name = :name"
        database.execute(statement, {"uri": uri, "name": name})
    database.close()
    async with MlflowClient(load({"MLFLOW_TRACKING_URI": mlflow_server.url}).mlflow) as client:
        with pytest.raises(ArtifactLocationForbidden, match="more than 5 times"):
            await resolve_uri(client, uri)


@pytest.mark.parametrize(
    ("uri", "stripped"),
    [
        ("sftp://user:secret@host/path", "sftp://user@host/path"),
        ("ftp://user:sec@ret@host:21/a", "ftp://user@host:21/a"),
        ("ftp://:secret@host/a", "ftp://@host/a"),
        ("wasbs://container@account.blob.example/a", "wasbs://container@account.blob.example/a"),
        ("s3://bucket/a:b@c/d", "s3://bucket/a:b@c/d"),
        ("mlflow-artifacts:/1/models/m-1/artifacts", "mlflow-artifacts:/1/models/m-1/artifacts"),
        ("http://host:5000/a@b", "http://host:5000/a@b"),
    ],
)
def test_a_password_is_stripped(uri: str, stripped: str) -> None:
    """Nothing else of the URI changes."""
    assert strip_password(uri) == stripped
