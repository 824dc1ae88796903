"""Proves that a link goes half-open: what is connected is silent, and new connections are as ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.soak.fleet.wire import Wire

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter


async def _echo(reader: StreamReader, writer: StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)
    writer.close()


async def _said(reader: StreamReader, writer: StreamWriter, word: bytes) -> None:
    writer.write(word + b"\n")
    async with asyncio.timeout(30):
        assert await reader.readline() == word + b"\n"


async def test_what_is_connected_is_silent_until_it_goes_on() -> None:
    """A second connection is answered meanwhile; in the end the first one is, with what it sent before."""
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    wire = Wire(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await wire.open()
    host, port = wire.address.split(":")
    first_reader, first = await asyncio.open_connection(host, int(port))
    await _said(first_reader, first, b"one")
    stopped = wire.go_half_open()
    first.write(b"two\n")
    reader, writer = await asyncio.open_connection(host, int(port))
    await _said(reader, writer, b"three")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await first_reader.readline()
    stopped.set()
    assert await first_reader.readline() == b"two\n"
    for one in (first, writer):
        one.close()
    await wire.cut()
    server.close()


async def test_a_node_that_is_away_closes_its_connections() -> None:
    """So gateways see at once that nothing listens."""
    wire = Wire("127.0.0.1:1")
    await wire.open()
    host, port = wire.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(30):
        assert await reader.read() == b""
    writer.close()
    await wire.cut()
