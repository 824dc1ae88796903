"""Runs the scripts of `tests.clients`, in which clients that others wrote ask a gateway."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from tests.support.gateways import ROOT
from tests.support.mlflow_server import environment

if TYPE_CHECKING:
    from tests.support.gateways import Gateway

_SECONDS = 100


async def run_checks(python: str, script: str, gateway: Gateway) -> dict[str, str]:
    """Run a script with the Python that has its client; return `ok`, or what went wrong, by check."""
    process = await asyncio.create_subprocess_exec(
        python,
        "-m",
        f"tests.clients.{script}",
        str(gateway.make_url("")).rstrip("/"),
        env=environment({}),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, log = await asyncio.wait_for(process.communicate(), _SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, log.decode()[-4000:]
    found: dict[str, str] = json.loads(output.splitlines()[-1])
    return found
