"""What no gateway sends ends its link alone: the node tells nothing, and the other links go on."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from gateway.engines.wire import messages
from gateway.engines.wire.control import GatewayHello, ModelNumber, Pins
from gateway.errors import VersionNotServable
from tests.support.gateways import BODY
from tests.support.models import body
from tests.support.node_client import find_version, linked, start_node
from workers.errors import QueueFull
from workers.protocol.messages import Job, ModelKey, OpenStream

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.gateway_process import Process
    from tests.support.mlflow_server import MlflowServer
    from workers.protocol.messages import WorkerRequest

KEY = ModelKey("api-sums", "1", "f")


def control(**fields: Any) -> list[bytes]:
    """Return a control message with these fields."""
    return [bytes([messages.CONTROL]), orjson.dumps(fields)]


HOSTILE = {
    "nothing": [b""],
    "zeros": [bytes(100)],
    "an unknown kind": [b"\xff" + bytes(20)],
    "half a batch": [b"".join(messages.encode_jobs([(1, 1)], [Job(BODY)]))[:-5]],
    "a batch without a number": messages.encode_jobs([(1, 99)], [Job(BODY)]),
    "a reply": messages.encode_error(1, ValueError("x")),
    "no JSON": [bytes([messages.CONTROL]), b"{"],
    "deep JSON": [bytes([messages.CONTROL]), b"[" * 100_000],
    "no object": [bytes([messages.CONTROL]), b"[]"],
    "an unknown type": control(type="run", code="import os"),
    "a second greeting": messages.encode_control(GatewayHello("again", 1, "1")),
    "a load of nothing": control(type="load", id=1, version={}, owners=[]),
    "an unload with a wrong key": control(type="unload", id=1, keys=[["a", "b"]]),
    "a negative id": control(type="probe", id=-1),
    "an id that is a text": control(type="probe", id="1"),
    "a key of a megabyte": control(type="model", number=1, key=["m" * 2**20, "1", "f"]),
    "very many pins": control(type="pins", keys=[["m", str(number), "f"] for number in range(10_001)]),
}


@pytest.mark.parametrize("message", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_message_that_is_not_valid_ends_its_link(
    node: Process, mlflow_server: MlflowServer, message: list[bytes]
) -> None:
    """With one log line, and nothing of the node's own for the peer."""
    refused = len(node.events("node_link_refused"))
    async with linked(node.url, gateway="good") as good, linked(node.url, gateway="bad") as bad:
        await bad.send(message)
        assert await asyncio.wait_for(bad.ended, 60) == ""
        await node.wait_for("node_link_refused", times=refused + 1)
        await good.unload()
    assert len(node.events("node_link_refused")) == refused + 1
    assert not node.events("node_link_failed")


async def test_nothing_is_done_before_the_greeting(node: Process) -> None:
    """A program that is no gateway learns nothing."""
    async with linked(node.url, greets=False) as client:
        await client.control(Pins((KEY,)))
        assert await asyncio.wait_for(client.ended, 60) == ""
        assert client.states == []


async def test_an_id_that_is_in_use_ends_the_link(node: Process, mlflow_server: MlflowServer) -> None:
    """Else the answer to one request would be taken for the other's."""
    version = await find_version(mlflow_server.url, "api-sums/1")
    async with linked(node.url) as client:
        await client.load(version)
        await client.send(messages.encode_jobs([(1, 1), (1, 1)], [Job(BODY), Job(BODY)]))
        assert await asyncio.wait_for(client.ended, 60) == ""


@pytest.mark.parametrize("first_is_stream", [True, False])
async def test_an_id_is_in_use_by_requests_of_either_kind(
    node: Process, mlflow_server: MlflowServer, *, first_is_stream: bool
) -> None:
    """A job and a request for a stream cannot share one: what the link holds would be counted wrongly."""
    version = await find_version(mlflow_server.url, "api-streams/1")
    sleeps = Job(body(do=["sleep 3"]))
    requests: list[WorkerRequest] = [sleeps, OpenStream(sleeps, 1)]
    if first_is_stream:
        requests.reverse()
    async with linked(node.url) as client:
        await client.load(version)
        number = await client.number(version.key)
        for request in requests:
            assert not client.ended.done()
            await client.send(messages.encode_jobs([(77, number)], [request]))
        assert await asyncio.wait_for(client.ended, 60) == ""


async def test_a_gateway_of_another_protocol_is_refused_with_the_reason(node: Process) -> None:
    """The operator learns which side is the older one; what is no range of protocols is refused alike."""
    for spoken in ("2-3", "0-0", "1", "x"):
        async with linked(node.url, spoken=spoken, greets=False) as client:
            assert "protocols" in await asyncio.wait_for(client.ended, 60)
    async with linked(node.url, spoken="1-9") as client:
        assert client.hello is not None
        assert client.hello.protocol == 1
    async with linked(node.url, greets=False) as client:
        await client.control(GatewayHello("newer", 2, "9"))
        assert await asyncio.wait_for(client.ended, 60) == ""


async def test_a_message_that_is_larger_than_any_can_be_is_refused(node: Process) -> None:
    """Before memory is taken for it: a body has at most GATEWAY_MAX_BODY_BYTES."""
    async with linked(node.url) as client, linked(node.url) as good:
        number = await client.number(KEY)
        await client.control(ModelNumber(number, KEY))
        with suppress(OSError):  # it may end while this is sent
            await client.send(messages.encode_jobs([(1, number)], [Job(bytes(70 * 2**20))]))
        assert await asyncio.wait_for(client.ended, 60) == ""
        await good.unload()


FORGED = {
    "files": ("uri",),
    "files and run": ("uri", "run_id", "model_id"),
    "all but the key": ("uri", "run_id", "model_id", "logged_name", "tags", "metrics", "created"),
}


@pytest.mark.parametrize("fields", FORGED.values(), ids=FORGED.keys())
@pytest.mark.parametrize("check", ["own", "warn"])
@pytest.mark.slow
async def test_no_gateway_replaces_a_model_for_the_others(
    check: str, fields: tuple[str, ...], tmp_path: Path, mlflow_server: MlflowServer, registered: list[str]
) -> None:
    """The node asks MLflow itself where the files of a version are, whatever a gateway says of them."""
    victim = await find_version(mlflow_server.url, "api-sums/1")
    other = await find_version(mlflow_server.url, "api-commands/1")
    forged = replace(victim, **{name: getattr(other, name) for name in fields})
    assert forged.key == victim.key
    node = start_node(tmp_path, mlflow_server.url, GATEWAY_SOURCE_CHECK=check)
    try:
        async with linked(node.url) as bad, linked(node.url) as good:
            await bad.load(forged)
            await bad.unload(victim.key)
            await good.load(victim)
            assert (await good.ask(victim.key, Job(BODY))).body == b"[3.0,7.0]"
            unknown = replace(victim, fingerprint="f" * 64)
            with pytest.raises(VersionNotServable):
                await bad.load(unknown)
    finally:
        node.end()


@pytest.mark.slow
async def test_a_link_without_a_greeting_ends(node: Process) -> None:
    """A program that holds links open for nothing is sent away."""
    async with linked(node.url, greets=False) as client:
        assert await asyncio.wait_for(client.ended, 60) == ""


@pytest.mark.slow
async def test_a_gateway_cannot_have_the_node_hold_more_bodies_than_it_may(
    tmp_path: Path, mlflow_server: MlflowServer, registered: list[str]
) -> None:
    """Of jobs and of streams that begin: over each link GATEWAY_MAX_BODIES_BYTES, until they are answered."""
    limits = {"GATEWAY_MAX_BODY_BYTES": "1000000", "GATEWAY_MAX_BODIES_BYTES": "1000000"}
    node = start_node(tmp_path, mlflow_server.url, **limits)
    slow, quick = (body(do=[text]) + b" " * 600_000 for text in ("sleep 3", "say a"))
    try:
        async with linked(node.url) as client:
            jobs, streams = [
                await find_version(mlflow_server.url, f"api-{name}/1") for name in ("commands", "streams")
            ]
            await client.load(jobs)
            await client.load(streams)
            for key, first in ((jobs.key, Job(slow)), (streams.key, OpenStream(Job(slow), 1))):
                (running,) = (await client.start(key, first)).values()
                with pytest.raises(QueueFull):
                    await client.ask(jobs.key, Job(quick))
                with pytest.raises(QueueFull):
                    await client.ask(streams.key, OpenStream(Job(quick), 2))
                await asyncio.wait_for(running, 60)
                assert (await client.ask(jobs.key, Job(quick))).body
    finally:
        node.end()
