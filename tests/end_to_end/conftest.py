"""Gateways in processes of their own, for one test or for all tests of a module."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.support.gateway_process import Process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer
    from workers.limits import Preload

    Start = Callable[..., Process]

__all__ = ["Process"]  # the soak imports it here


@pytest.fixture
def start(mlflow_server: MlflowServer, registered: list[str], tmp_path: Path) -> Iterator[Start]:
    """A function that starts a gateway with the given settings; each gateway ends with the test.

    `preload` is what its fork servers import. "none" suits a gateway that starts no worker: each worker then
    imports MLflow itself, for 1.4 CPU seconds and more. "lean" takes 1.5 CPU seconds once for each gateway
    process, and each of its workers is a cheap fork.
    """
    with gateway_starter(mlflow_server, tmp_path) as run:
        yield run


@contextmanager
def gateway_starter(server: MlflowServer, folder: Path) -> Iterator[Start]:
    """Yield a function that starts gateways in folders of their own below `folder`, and end them."""
    started: list[Process] = []

    def run(
        *,
        program: str = "serve",
        preload: Preload = "none",
        python: Path | str = sys.executable,
        preexec: Callable[[], None] | None = None,
        **values: str,
    ) -> Process:
        own = folder / f"process-{len(started)}"
        own.mkdir()
        defaults = {
            "MLFLOW_TRACKING_URI": server.url,
            "GATEWAY_CACHE_DIR": str(own / "cache"),
            "GATEWAY_PORT": "0",
            "GATEWAY_GRACE_SECONDS": "0",
            "GATEWAY_PRELOAD": preload,
        }
        started.append(Process(own, defaults | values, program=program, python=python, preexec=preexec))
        return started[-1]

    try:
        yield run
    finally:
        for process in started:
            process.end()


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client."""
    async with aiohttp.ClientSession() as session:
        yield session
