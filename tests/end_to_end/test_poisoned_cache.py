"""Proves that a model which rewrites another's cached files cannot change what the other answers.

There is no wall around the workers here: they run as the gateway's user.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from tests.support.gateways import NO_WALL, Gateway, gateway_at, invoke
from tests.support.shared import once

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

VICTIM, POISONER = "poison-victim", "poisoner"
ROW = b'{"dataframe_split": {"columns": ["a"], "data": [[1]]}}'
PATH = f"/model/{VICTIM}/1/invocation"


@pytest.fixture
async def poisoner(mlflow_server: MlflowServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Register the models once for the whole run."""

    def make(folder: Path) -> None:
        mlflow_server.module("tests.support.poisoner", str(folder))

    await asyncio.to_thread(once, tmp_path_factory, "poisoner", make)


async def poison(gateway: Gateway, cache: Path) -> int:
    """Have the hostile model poison the cache; return how many models it poisoned."""
    body = {"dataframe_split": {"columns": ["cache"], "data": [[str(cache)]]}}
    status, answer = await invoke(gateway, f"/model/{POISONER}/1/invocation", json.dumps(body).encode())
    assert status == 200
    (count,) = answer["predictions"]
    return int(count)


async def unload(gateway: Gateway) -> None:
    """Unload the victim."""
    async with gateway.post(f"/v2/repository/models/{VICTIM}/unload") as answer:
        assert answer.status == 200


@pytest.mark.slow
async def test_a_poisoned_model_is_downloaded_again(
    mlflow_server: MlflowServer, poisoner: None, tmp_path: Path
) -> None:
    """In the same gateway; and in the next one, if it has a key that no model can read."""
    for key, after_restart in (("", "POISON"), ("k" * 40, "honest")):
        values, cache = {"GATEWAY_CACHE_KEY": key, **NO_WALL}, tmp_path / str(len(key))
        async with gateway_at(mlflow_server.url, cache, **values) as gateway:
            assert (await invoke(gateway, PATH, ROW))[1]["predictions"] == ["honest"]
            assert await poison(gateway, cache) == 1
            await unload(gateway)
            assert (await invoke(gateway, PATH, ROW))[1]["predictions"] == ["honest"]
            assert await poison(gateway, cache) == 1
        async with gateway_at(mlflow_server.url, cache, **values) as gateway:
            assert (await invoke(gateway, PATH, ROW))[1]["predictions"] == [after_restart]
