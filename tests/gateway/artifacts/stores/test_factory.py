"""Proves which locations are allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.artifacts.stores.by_file import FileByFileStore
from gateway.artifacts.stores.factory import StoreFactory, uri_scheme
from gateway.artifacts.stores.mlflow_subprocess import MlflowSubprocessStore
from gateway.errors import ArtifactLocationForbidden
from gateway.mlflow_client import MlflowClient
from gateway.settings import load
from tests.gateway.artifacts.conftest import key

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateway.artifacts.conftest import CacheHarness


def stores(**variables: str) -> StoreFactory:
    """Return the store factory of a gateway with these settings."""
    settings = load({"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", **variables})
    return StoreFactory(settings, MlflowClient(settings.mlflow))


@pytest.mark.parametrize("uri", ["mlflow-artifacts:/1/m", "MLFLOW-ARTIFACTS:/1/m", "s3://bucket/m"])
def test_two_schemes_are_allowed_by_default(uri: str) -> None:
    """Those of the tracking server's own store and of S3."""
    assert isinstance(stores().for_uri(uri), FileByFileStore)


@pytest.mark.parametrize(
    ("uri", "setting"),
    [
        ("file:///secret/m", "GATEWAY_ARTIFACT_SCHEMES must name file and GATEWAY_ARTIFACT_ROOTS"),
        ("/secret/m", "GATEWAY_ARTIFACT_ROOTS"),
        ("gs://secret/m", "GATEWAY_ARTIFACT_SCHEMES must name gs"),
        ("https://secret/m", "GATEWAY_ARTIFACT_SCHEMES must name https"),
        ("models:/secret/1", "scheme models"),
        ("runs:/secret/m", "scheme runs"),
        ("secret", "is not a URI"),
        ("../secret", "is not a URI"),
        ("", "is not a URI"),
        ("s3://secret/\n", "is not a URI"),
        ("x" * 40 + "://secret", "is not a URI"),
    ],
)
def test_other_locations_are_rejected_with_the_settings_name(uri: str, setting: str) -> None:
    """The message has the scheme and the setting, and never the location."""
    with pytest.raises(ArtifactLocationForbidden, match=setting) as caught:
        stores().for_uri(uri)
    assert "secret" not in str(caught.value)


def test_the_operator_sets_the_allowed_schemes(tmp_path: Path) -> None:
    """Only the named schemes are allowed; models: and runs: never are."""
    factory = stores(GATEWAY_ARTIFACT_SCHEMES="gs,file,models", GATEWAY_ARTIFACT_ROOTS=str(tmp_path))
    assert isinstance(factory.for_uri("gs://bucket/m"), MlflowSubprocessStore)
    assert isinstance(factory.for_uri("file:///anything"), FileByFileStore)
    for uri in ("s3://bucket/m", "models:/m/1"):
        with pytest.raises(ArtifactLocationForbidden):
            factory.for_uri(uri)


@pytest.mark.parametrize("uri", ["mlflow-artifacts://[x/1", "file://[x/1", "s3://[x/1"])
def test_a_location_with_an_invalid_host_is_rejected(uri: str) -> None:
    """Like any other malformed URI."""
    with pytest.raises(ArtifactLocationForbidden, match="is not a URI"):
        uri_scheme(uri)


async def test_a_rejected_location_leaves_nothing_in_the_cache(harness: CacheHarness) -> None:
    """For example a local folder if no root is allowed."""
    cache = await harness.open_cache()

    async def locate() -> str:
        return "file:///etc"

    with pytest.raises(ArtifactLocationForbidden):
        async with cache.lease(key("m"), locate):
            pass
    with pytest.raises(ArtifactLocationForbidden):
        await cache.read_file(key("m"), locate, "passwd")
    assert harness.models() == harness.partial_files() == []
