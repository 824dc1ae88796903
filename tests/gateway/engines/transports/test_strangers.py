"""What callers without the token can take of a node: memory, descriptors, lines of its log, and its time."""

from __future__ import annotations

import asyncio
import tracemalloc

import psutil
import pytest

from gateway.engines.transports import link_server, message_stream
from tests.gateway.engines.transports.serving import MIB, TOKEN, Serving, burst, ended, serving
from tests.support.node_client import LaneRefused, RawLane, open_raw, shake_hands
from tests.support.waiting import until


async def test_a_caller_without_the_token_cannot_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The first refusal of a kind is logged; another kind is another line."""
    async with serving() as node:
        for _ in range(50):
            with pytest.raises(LaneRefused):
                await node.open_lane(token=TOKEN[1:])
        with pytest.raises(LaneRefused):
            await node.open_lane(spoken="8-9")
    refused = [record for record in caplog.records if vars(record).get("event") == "node_link_refused"]
    assert len(refused) == 2


async def test_connections_without_a_proof_take_no_descriptor_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither silent ones nor one that sends a byte now and then; the open link stays."""
    monkeypatch.setattr(link_server, "_PROVE_SECONDS", 0.3)
    async with serving() as node:
        small = await node.open_lane()
        opened = [await open_raw(node.address) for _ in range(20)]
        for raw in opened[10:]:
            await raw.write_raw(b"\x09")
        for raw in opened:
            await ended(raw)
        await small.write(b"y")
        assert await node.links[0][1].next() == b"y"
        small.close()


async def test_many_connections_without_a_proof_do_not_keep_gateways_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The oldest are ended first."""
    monkeypatch.setattr(link_server, "MAX_UNPROVEN", 3)
    async with serving() as node:
        waiting = [await open_raw(node.address) for _ in range(5)]
        for raw in waiting[:2]:
            await ended(raw)
        small = await node.open_lane()
        await small.write(b"x")
        assert await node.links[0][1].next() == b"x"
        for raw in (small, *waiting):
            raw.close()


async def test_connections_that_come_at_once_are_no_more_than_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes memory and a descriptor: those of one turn of the loop are counted as well."""
    monkeypatch.setattr(link_server, "MAX_UNPROVEN", 3)
    monkeypatch.setattr(link_server, "_PROVE_SECONDS", 1000)
    async with serving() as node:
        opened = await burst(node, 50)
        for raw in opened[:-3]:
            await ended(raw)
        for raw in opened[-3:]:
            raw.close()


async def test_a_connection_without_a_proof_takes_little_memory() -> None:
    """A caller without the token can have hundreds; a link has room for many messages at once."""
    async with serving() as node:
        tracemalloc.start()
        try:
            opened = await burst(node, 200)
            for raw in opened:
                await raw.read()
            assert tracemalloc.get_traced_memory()[0] < 32 * MIB  # both ends of each are in this process
        finally:
            tracemalloc.stop()
        await shake_hands(gateway := await open_raw(node.address), token=TOKEN)
        for size in (1, 5000, 10_000, 300_000, 5000):
            await gateway.write(bytes(size))
            assert len(await node.links[0][1].next()) == size
        for raw in (gateway, *opened):
            raw.close()


async def test_refused_connections_are_counted_until_they_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that never ends its side would have as many as it can open in the time for the refusal."""
    monkeypatch.setattr(link_server, "MAX_UNPROVEN", 3)
    monkeypatch.setattr(message_stream, "_FINISH_SECONDS", 1000)
    async with serving() as node:
        opened = [await open_raw(node.address) for _ in range(3)]
        for raw in opened:
            with pytest.raises(LaneRefused):
                await shake_hands(raw, token=TOKEN[1:])
        await until(lambda: half_closed(node) == 3)
        opened += [await open_raw(node.address) for _ in range(3)]
        await until(lambda: half_closed(node) == 0)
        for raw in opened:
            raw.close()


def half_closed(node: Serving) -> int:
    """Return how many connections the node has ended on its side alone."""
    port = int(node.address.rpartition(":")[2])
    found = psutil.Process().net_connections("tcp")
    return sum(one.laddr.port == port and one.status == psutil.CONN_FIN_WAIT2 for one in found)


async def test_a_host_that_floods_the_node_does_not_keep_other_hosts_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The connection that is ended is one of those of the host that has the most."""
    monkeypatch.setattr(link_server, "MAX_UNPROVEN", 3)
    async with serving() as node:
        host, _, port = node.address.rpartition(":")
        gateway = RawLane(*await asyncio.open_connection(host, int(port), local_addr=("127.0.0.2", 0)))
        opened = await burst(node, 20)
        await ended(opened[0])
        await shake_hands(gateway, token=TOKEN)
        assert len(node.links) == 1
        for raw in (gateway, *opened):
            raw.close()


async def test_lines_of_the_log_name_the_caller_and_are_few(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the caller sends, and from however many addresses."""
    async with serving() as node:
        host, _, port = node.address.rpartition(":")
        for number in range(1, 200):
            local = (f"127.0.1.{number}", 0)
            raw = RawLane(*await asyncio.open_connection(host, int(port), local_addr=local))
            await raw.write_raw((5000 + number * 10**12).to_bytes(8, "little"))
            await ended(raw)
    refused = [vars(record) for record in caplog.records if vars(record).get("event") == "node_link_refused"]
    assert 0 < len(refused) <= 32
    assert all(record["peer"].startswith("127.0.1.") for record in refused)
