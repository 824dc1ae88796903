"""Proves that clients of the Open Inference Protocol which others wrote work with the real application."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from tests.support.gateways import ROOT
from tests.support.mlflow_server import environment

if TYPE_CHECKING:
    from tests.support.gateways import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    ("script", "checks"),
    [("ask_with_triton", 17), ("ask_with_mlserver", 13), ("ask_with_kserve", 8)],
)
async def test_client(script: str, checks: int, asked: None, clients_python: str, gateway: Gateway) -> None:
    """Each thing that the client does comes out as it should; the script says what and how."""
    process = await asyncio.create_subprocess_exec(
        clients_python,
        "-m",
        f"tests.clients.{script}",
        str(gateway.make_url("")).rstrip("/"),
        env=environment({}),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, log = await asyncio.wait_for(process.communicate(), 100)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, log.decode()[-4000:]
    found = json.loads(output.splitlines()[-1])
    assert {name: why for name, why in found.items() if why != "ok"} == {}
    assert len(found) == checks
