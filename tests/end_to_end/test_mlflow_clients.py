"""Proves that MLflow's own clients of its model servers work with the real application, unchanged."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.foreign_clients import run_checks

if TYPE_CHECKING:
    from tests.support.gateways import Gateway


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="session")
async def test_the_clients_of_mlflow(gateway: Gateway) -> None:
    """The scoring client at a version's address, and the deployment client; the script says what they do."""
    found = await run_checks(sys.executable, "ask_with_mlflow", gateway)
    assert {name: why for name, why in found.items() if why != "ok"} == {}
    assert len(found) == 15
