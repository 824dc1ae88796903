"""A bare client of a node, whose connections and handshakes have none of the gateway's own code for it."""

from __future__ import annotations

import asyncio
import hmac
import json
import socket
import struct
import sys
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from gateway import settings
from gateway.catalog import Catalog
from gateway.domain.refs import parse_pinned
from gateway.engines.wire import messages, protocol
from gateway.engines.wire.control import (
    Done,
    Failed,
    GatewayHello,
    Load,
    ModelNumber,
    NodeHello,
    State,
    Unload,
)
from gateway.engines.wire.messages import JobFailed, Replies
from gateway.mlflow_client import MlflowClient
from gateway.settings import CurrentSettings
from tests.support.gateway_process import Process
from tests.support.mlflow_server import environment
from workers.metrics import Counters

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from gateway.domain.models import ModelVersion
    from gateway.engines.wire.control import GatewayControl
    from gateway.engines.wire.state import NodeState
    from workers.protocol.messages import ModelKey, WorkerRequest

_SECONDS = 60.0
FLEET_TOKEN = "fedcba9876543210fedcba9876543210"  # noqa: S105 - of no other fleet
_LENGTH = struct.Struct("<Q")


class RawLane:
    """One connection to a node, on which whole messages are written and read."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def write(self, message: bytes) -> None:
        """Send one message."""
        self._writer.write(_LENGTH.pack(len(message)) + message)
        await self._writer.drain()

    async def write_raw(self, data: bytes) -> None:
        """Send bytes that may be no message."""
        self._writer.write(data)
        await self._writer.drain()

    async def read(self) -> bytes:
        """Return the next message. Raise IncompleteReadError at the end, or OSError."""
        (size,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
        return await self._reader.readexactly(size)

    def close(self) -> None:
        """End the connection."""
        self._writer.transport.abort()

    def reset(self) -> None:
        """End the connection as a system does whose program has crashed: with a reset."""
        own = self._writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


class LaneRefused(Exception):
    """The node's reason why it does not accept a connection."""


async def open_raw(
    address: str, *, tls: ssl.SSLContext | None = None, tls_name: str | None = None
) -> RawLane:
    """Return a connection that has said nothing. Raise OSError."""
    host, _, port = address.rpartition(":")
    name = None if tls is None else tls_name or host
    return RawLane(*await asyncio.open_connection(host, int(port), ssl=tls, server_hostname=name))


async def shake_hands(
    raw: RawLane,
    *,
    token: str = FLEET_TOKEN,
    link: str | None = None,
    lane: str = "small",
    spoken: str = "1-1",
    **more: object,
) -> dict[str, Any]:
    """Answer the node's challenge; return its verdict, and as `shown` the proof of this end.

    `more` is in place of what the opening would have. Raise LaneRefused, or what `read` raises.
    """
    challenge = json.loads(await raw.read())
    opening: dict[str, object] = {
        "protocols": spoken,
        "nonce": token_hex(32),
        "link": link or token_hex(16),
        "lane": lane,
    }
    said = ("gateway", challenge["protocols"], challenge["nonce"], *map(str, opening.values()))
    if token:
        opening["proof"] = hmac.digest(token.encode(), "\n".join(said).encode(), "sha256").hex()
    await raw.write(json.dumps(opening | more).encode())
    verdict: dict[str, Any] = json.loads(await raw.read())
    if verdict["refusal"]:
        raise LaneRefused(verdict["refusal"])
    if token:
        expected = hmac.digest(token.encode(), "\n".join(("node", *said[1:])).encode(), "sha256").hex()
        assert verdict["proof"] == expected
    return verdict | {"shown": opening.get("proof", "")}


class NodeClient:
    """One link to a node; `states` has what the node told, the latest last.

    `ended` has the node's reason if it refused the link, and else no text.
    """

    def __init__(self, small: RawLane, large: RawLane) -> None:
        self._small, self._large = small, large
        self._ids = count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._numbers: dict[ModelKey, int] = {}
        self._changed = asyncio.Event()
        self.hello: NodeHello | None = None
        self.states: list[NodeState] = []
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @property
    def state(self) -> NodeState:
        """What the node told last."""
        return self.states[-1]

    async def send(self, parts: Sequence[bytes | memoryview]) -> None:
        """Send one message on the lane for its size."""
        whole = b"".join(parts)
        lane = self._small if len(whole) <= protocol.LARGE_MESSAGE_BYTES else self._large
        await lane.write(whole)

    async def control(self, message: GatewayControl) -> None:
        """Send a control message."""
        await self.send(messages.encode_control(message))

    async def call(self, create: Any) -> float:
        """Send the message that `create` makes of an id; return the seconds, or raise the node's error."""
        call_id, future = next(self._ids), asyncio.get_running_loop().create_future()
        self._calls[call_id] = future
        await self.control(create(call_id))
        seconds: float = await asyncio.wait_for(future, _SECONDS)
        return seconds

    async def load(self, version: ModelVersion, *owners: str | None) -> float:
        """Load a version, and give it a number."""
        seconds = await self.call(lambda call_id: Load(call_id, version, owners or (None,)))
        await self.number(version.key)
        return seconds

    async def unload(self, *keys: ModelKey) -> None:
        """Unload versions."""
        await self.call(lambda call_id: Unload(call_id, keys))

    async def number(self, key: ModelKey) -> int:
        """Give a model a number, if it has none."""
        if key not in self._numbers:
            self._numbers[key] = len(self._numbers) + 1
            await self.control(ModelNumber(self._numbers[key], key))
        return self._numbers[key]

    async def start(self, key: ModelKey, *requests: WorkerRequest) -> dict[int, asyncio.Future[Any]]:
        """Send requests in one message; return the futures of their replies by the ids of their jobs."""
        number = await self.number(key)
        ids = [next(self._ids) for _ in requests]
        started = {job_id: asyncio.get_running_loop().create_future() for job_id in ids}
        self._waiting.update(started)
        await self.send(messages.encode_jobs([(job_id, number) for job_id in ids], requests))
        return started

    async def ask(self, key: ModelKey, request: WorkerRequest) -> Any:
        """Return the reply to a request, or raise its error."""
        (future,) = (await self.start(key, request)).values()
        return await asyncio.wait_for(future, _SECONDS)

    async def wait_for_state(self, accept: Any) -> NodeState:
        """Wait until the node told a state that `accept` takes, and return it."""
        async with asyncio.timeout(_SECONDS):
            while not (self.states and accept(self.state)):
                self._changed.clear()
                await self._changed.wait()
        return self.state

    async def read(self, lane: RawLane) -> None:
        """Take what the node sends on a lane until it ends."""
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                self._take(messages.decode_from_node(await lane.read()))
        self.end("")

    def end(self, reason: str) -> None:
        """Take note that the link has ended."""
        if not self.ended.done():
            self.ended.set_result(reason)
        for future in self._futures():
            if not future.done():
                future.set_exception(ConnectionResetError("the link has ended"))
                future.exception()  # tests may have lost interest

    def _futures(self) -> Iterator[asyncio.Future[Any]]:
        yield from self._waiting.values()
        yield from self._calls.values()

    def _take(self, content: object) -> None:
        if isinstance(content, Replies):
            for job_id, reply in zip(content.ids, content.replies, strict=True):
                self._waiting.pop(job_id).set_result(reply)
        elif isinstance(content, JobFailed):
            self._waiting.pop(content.id).set_exception(content.error)
        elif isinstance(content, Done):
            self._calls.pop(content.id).set_result(content.download_seconds)
        elif isinstance(content, Failed):
            self._calls.pop(content.id).set_exception(content.error)
        elif isinstance(content, NodeHello):
            self.hello = content
        elif isinstance(content, State):
            self.states.append(content.state)
        self._changed.set()


@asynccontextmanager
async def linked(
    address: str,
    *,
    token: str = FLEET_TOKEN,
    gateway: str = "test",
    spoken: str = "1-1",
    tls: ssl.SSLContext | None = None,
    greets: bool = True,
) -> AsyncIterator[NodeClient]:
    """Yield a link to a node, which has greeted unless not `greets`; it may be refused.

    Raise OSError if the node says nothing, as with a certificate that it does not accept.
    """
    link = token_hex(16)
    async with AsyncExitStack() as stack:
        lanes = []
        for _ in range(2):
            lanes.append(await open_raw(address, tls=tls))
            stack.callback(lanes[-1].close)
        client = NodeClient(*lanes)
        try:
            for raw, lane in zip(lanes, ("small", "large"), strict=True):
                await shake_hands(raw, token=token, link=link, lane=lane, spoken=spoken)
        except LaneRefused as error:
            client.end(str(error))
            yield client
            return
        except asyncio.IncompleteReadError as error:
            raise ConnectionResetError("the node ended the connection") from error
        readers = [asyncio.create_task(client.read(lane)) for lane in lanes]
        try:
            if greets:
                await client.control(GatewayHello(gateway, protocol.NEWEST, "test"))
                await client.wait_for_state(lambda _: True)
            yield client
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)


async def find_version(url: str, name: str) -> ModelVersion:
    """Return the version that `name/number` is on the MLflow server at `url`."""
    chosen = settings.load({**environment(), "MLFLOW_TRACKING_URI": url})
    async with MlflowClient(chosen.mlflow) as mlflow:
        catalog = Catalog(mlflow, CurrentSettings(chosen), counters=Counters())
        try:
            return (await catalog.resolve(parse_pinned(name))).version
        finally:
            await catalog.close()


def start_node(folder: Path, mlflow_url: str, **values: str) -> Process:
    """Start `gateway node` on a free port, and return it when it listens, or has ended."""
    given = {
        "MLFLOW_TRACKING_URI": mlflow_url,
        "GATEWAY_CACHE_DIR": str(folder / "cache"),
        "GATEWAY_NODE_PORT": "0",
        "GATEWAY_FLEET_TOKEN": FLEET_TOKEN,
        "GATEWAY_LOG_FORMAT": "json",
        **values,
    }
    return Process(folder, given, program="node", python=sys.executable, preexec=None)
