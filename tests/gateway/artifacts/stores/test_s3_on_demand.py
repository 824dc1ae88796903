"""Proves that AWS' client is imported at the first use of S3, and not by the event loop's thread."""

from __future__ import annotations

import subprocess
import sys
from asyncio import gather
from typing import TYPE_CHECKING

import pytest

from gateway.artifacts.stores.s3_on_demand import S3OnDemand
from gateway.errors import UpstreamUnavailable
from gateway.settings import load
from tests.support.mlflow_server import free_port

if TYPE_CHECKING:
    from gateway.settings import S3Settings

IMPORTS = """
import asyncio, sys, threading
from gateway.artifacts.stores.factory import StoreFactory
from gateway.errors import UpstreamUnavailable
from gateway.mlflow_client import MlflowClient
from gateway.settings import load

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name in {"aiobotocore", "botocore", "gateway.artifacts.stores.s3"}:
            print(name, "by the event loop" if threading.current_thread() is threading.main_thread() else "")

async def main():
    settings = load({"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", "MLFLOW_S3_ENDPOINT_URL": sys.argv[1],
        "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_DEFAULT_REGION": "us-east-1"})
    factory = StoreFactory(settings, MlflowClient(settings.mlflow))
    store = factory.for_uri("s3://bucket/model")
    print("first use")
    try:
        await store.find("s3://bucket/model")
    except UpstreamUnavailable:
        print("unavailable")
    await factory.close()

sys.meta_path.insert(0, Finder())
asyncio.run(main())
"""


def _settings() -> S3Settings:
    """Return the settings of a server that does not run."""
    return load(
        {
            "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
            "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    ).s3


def test_the_first_use_imports_it_in_a_thread() -> None:
    """Nothing of it is imported before, and the event loop goes on meanwhile."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, f"http://127.0.0.1:{free_port()}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    first, *imported, last = [line.strip() for line in done.stdout.splitlines()]
    assert (first, last) == ("first use", "unavailable")
    assert set(imported) == {"aiobotocore", "botocore", "gateway.artifacts.stores.s3"}


async def test_several_first_uses_at_once() -> None:
    """Each has the error of S3, and so has one after them; an unused store can be closed too."""
    store = S3OnDemand(_settings())
    uses = [store.list_files("s3://bucket/model") for _ in range(3)]
    for error in await gather(*uses, return_exceptions=True):
        assert isinstance(error, UpstreamUnavailable)
    with pytest.raises(UpstreamUnavailable):
        async with store.open("s3://bucket/model", "MLmodel"):
            pass
    await store.close()
    await S3OnDemand(_settings()).close()
