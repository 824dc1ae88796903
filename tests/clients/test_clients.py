"""Proves that clients of the Open Inference Protocol which others wrote work with the real application."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.foreign_clients import run_checks

if TYPE_CHECKING:
    from tests.support.gateways import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    ("script", "checks"),
    [("ask_with_triton", 17), ("ask_with_mlserver", 13), ("ask_with_kserve", 8)],
)
async def test_client(script: str, checks: int, asked: None, clients_python: str, gateway: Gateway) -> None:
    """Each thing that the client does comes out as it should; the script says what and how."""
    found = await run_checks(clients_python, script, gateway)
    assert {name: why for name, why in found.items() if why != "ok"} == {}
    assert len(found) == checks
