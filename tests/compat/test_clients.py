"""Proves that the clients of MLflow 2.22 work with the real application, as those of MLflow 3 do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.foreign_clients import run_checks

if TYPE_CHECKING:
    from tests.support.gateways import Gateway


@pytest.mark.asyncio(loop_scope="session")
async def test_the_clients_of_mlflow(gateway: Gateway, mlflow2_python: str) -> None:
    """The scoring client at a version's address, and the deployment client; the script says what they do."""
    found = await run_checks(mlflow2_python, "ask_with_mlflow", gateway)
    assert {name: why for name, why in found.items() if why != "ok"} == {}
    assert len(found) == 15
