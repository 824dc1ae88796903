"""Requests of a few turns of the loop share a message, and none waits for long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.engines.fleet.outbox import MAX_TURNS, Outbox
from gateway.engines.wire.messages import Jobs, decode_from_gateway, encode_cancel
from workers.protocol.messages import Job

if TYPE_CHECKING:
    from collections.abc import Sequence


class Sent:
    """A transport that keeps the ids of each message; 0 stands for one that has no requests."""

    unsent_bytes = 0

    def __init__(self) -> None:
        self.messages: list[tuple[int, ...]] = []

    def send(self, message: Sequence[bytes | memoryview]) -> None:
        """Keep a message."""
        content = decode_from_gateway(b"".join(message))
        self.messages.append(content.ids if isinstance(content, Jobs) else (0,))

    def close(self) -> None:
        """Do nothing."""


async def run(*turns: Sequence[int], after: int = 2) -> list[tuple[int, ...]]:
    """Add requests of these ids, turn by turn; return the ids of each message `after` more turns later."""
    transport = Sent()
    outbox = Outbox(transport)
    for ids in turns:
        for job_id in ids:
            outbox.add(job_id, 1, Job(b"{}"))
        await asyncio.sleep(0)
    for _ in range(after):
        await asyncio.sleep(0)
    return transport.messages


@pytest.mark.parametrize("turns", [[[1, 2, 3]], [[1, 2], [3]], [[1, 2], [3], [4, 5]]])
async def test_they_are_sent_after_a_turn_that_brings_none(turns: list[list[int]]) -> None:
    """All of them as one message, in order."""
    assert await run(*turns) == [tuple(job_id for ids in turns for job_id in ids)]


async def test_requests_that_keep_coming_delay_none_for_long() -> None:
    """Each message has those of a few turns."""
    count = 5 * MAX_TURNS
    sent = await run(*[[job_id, -job_id % 1000] for job_id in range(1, count + 1)], after=MAX_TURNS)
    assert [job_id for ids in sent for job_id in ids[::2]] == [*range(1, count + 1)]
    assert {len(ids) for ids in sent} == {2 * MAX_TURNS}


async def test_a_lone_request_waits_for_others_only_if_there_were_some_lately() -> None:
    """So a single client waits for no turn in which nothing comes."""
    assert await run([1], [2], [3], after=0) == [(1,), (2,), (3,)]
    assert await run([1, 2], [], [3], after=0) == [(1, 2)]
    assert await run([1, 2], [], [3], [], [4], after=0) == [(1, 2), (3,), (4,)]


async def test_other_messages_follow_all_that_was_added_before() -> None:
    """They are sent at once, and so is what was gathered."""
    transport = Sent()
    outbox = Outbox(transport)
    outbox.add(1, 1, Job(b"{}"))
    outbox.send(encode_cancel(1))
    assert transport.messages == [(1,), (0,)]
    outbox.add(2, 1, Job(b"{}"))
    for _ in range(MAX_TURNS):
        await asyncio.sleep(0)
    assert transport.messages == [(1,), (0,), (2,)]
