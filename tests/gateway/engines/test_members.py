"""Proves how the members of a fleet are found: by a list, or by DNS, whose outages change nothing."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.engines.members import DnsMembers, Member, StaticMembers, look_up_addresses
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from gateway.engines.members import Members


@asynccontextmanager
async def watching(members: Members) -> AsyncIterator[list[frozenset[Member]]]:
    """Yield what is reported, as it comes."""
    reported: list[frozenset[Member]] = []
    task = asyncio.create_task(members.watch(reported.append))
    try:
        yield reported
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_list_is_reported_once() -> None:
    """The members are those of the settings."""
    async with watching(StaticMembers(["a:1", "b:2"])) as reported:
        await until(lambda: bool(reported))
        assert reported == [{Member("a:1", "a:1"), Member("b:2", "b:2")}]


async def test_members_follow_the_addresses_of_a_name(caplog: pytest.LogCaptureFixture) -> None:
    """Changes are reported, and an outage is none, of which one line tells."""
    answers: list[list[str] | OSError] = [
        OSError("try again"),
        ["10.0.0.1:80"],
        ["10.0.0.1:80"],
        OSError("no name server"),
        OSError("no name server"),
        ["10.0.0.1:80", "[2001:db8::1]:80"],
    ]
    looked_up: list[tuple[str, int]] = []

    async def look_up(name: str, port: int) -> list[str]:
        looked_up.append((name, port))
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, OSError):
            raise answer
        return answer

    async with watching(DnsMembers("nodes", 80, seconds=0.001, look_up=look_up)) as reported:
        await until(lambda: len(reported) == 2)
    first = Member("10.0.0.1:80", "10.0.0.1:80", "nodes")
    second = Member("[2001:db8::1]:80", "[2001:db8::1]:80", "nodes")
    assert reported == [{first}, {first, second}]
    assert looked_up[0] == ("nodes", 80)
    assert sum("no name server" in record.message for record in caplog.records) == 1


async def test_a_name_of_this_machine_is_looked_up() -> None:
    """The system's own resolver gives the addresses."""
    assert "127.0.0.1:8090" in await look_up_addresses("localhost", 8090)
