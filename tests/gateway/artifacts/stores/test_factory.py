"""Which locations are allowed."""

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

    from tests.gateway.artifacts.conftest import House


def stores(**environment: str) -> StoreFactory:
    """The stores of a gateway with this environment."""
    settings = load({"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", **environment})
    return StoreFactory(settings, MlflowClient(settings.mlflow))


@pytest.mark.parametrize("uri", ["mlflow-artifacts:/1/m", "MLFLOW-ARTIFACTS:/1/m", "s3://bucket/m"])
def test_two_schemes_are_allowed_from_the_start(uri: str) -> None:
    """The tracking server's own store, and S3."""
    assert isinstance(stores().for_uri(uri), FileByFileStore)


@pytest.mark.parametrize(
    ("uri", "setting"),
    [
        ("file:///secret/m", "GATEWAY_ARTIFACT_SCHEMES would have to name file and GATEWAY_ARTIFACT_ROOTS"),
        ("/secret/m", "GATEWAY_ARTIFACT_ROOTS"),
        ("gs://secret/m", "GATEWAY_ARTIFACT_SCHEMES would have to name gs"),
        ("https://secret/m", "GATEWAY_ARTIFACT_SCHEMES would have to name https"),
        ("models:/secret/1", "scheme models"),
        ("runs:/secret/m", "scheme runs"),
        ("secret", "no form"),
        ("../secret", "no form"),
        ("", "no form"),
        ("s3://secret/\n", "no form"),
        ("x" * 40 + "://secret", "no form"),
    ],
)
def test_other_locations_are_refused_naming_the_setting(uri: str, setting: str) -> None:
    """The scheme and the setting that would allow it, never the place."""
    with pytest.raises(ArtifactLocationForbidden, match=setting) as caught:
        stores().for_uri(uri)
    assert "secret" not in str(caught.value)


def test_the_operator_may_allow_more_and_less(tmp_path: Path) -> None:
    """What is named is allowed, what is not is not; names of models and runs are no locations at all."""
    some = stores(GATEWAY_ARTIFACT_SCHEMES="gs,file,models", GATEWAY_ARTIFACT_ROOTS=str(tmp_path))
    assert isinstance(some.for_uri("gs://bucket/m"), MlflowSubprocessStore)
    assert isinstance(some.for_uri("file:///anything"), FileByFileStore)
    for uri in ("s3://bucket/m", "models:/m/1"):
        with pytest.raises(ArtifactLocationForbidden):
            some.for_uri(uri)


@pytest.mark.parametrize("uri", ["mlflow-artifacts://[x/1", "file://[x/1", "s3://[x/1"])
def test_a_location_whose_host_is_none_is_refused(uri: str) -> None:
    """As any other that is of no form."""
    with pytest.raises(ArtifactLocationForbidden, match="of no form"):
        uri_scheme(uri)


async def test_a_refused_location_leaves_nothing_in_the_cache(house: House) -> None:
    """A model that lies in a folder, where none is allowed."""
    cache = await house.cache()

    async def locate() -> str:
        return "file:///etc"

    with pytest.raises(ArtifactLocationForbidden):
        async with cache.lease(key("m"), locate):
            pass
    with pytest.raises(ArtifactLocationForbidden):
        await cache.read_file(key("m"), locate, "passwd")
    assert house.models() == house.leftovers() == []
