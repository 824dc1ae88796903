"""Links to a real node: requests, streams, loads, pins and unloads, of one gateway and of two."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson
import pytest

from gateway.engines.wire import messages
from gateway.engines.wire.control import Pins, Probe
from tests.support.gateways import BODY
from tests.support.models import body
from tests.support.node_client import find_version, linked
from workers.errors import (
    InvalidInput,
    ModelError,
    ModelLoadError,
    ModelNotLoaded,
    ModelPinned,
    WorkerCrashed,
)
from workers.protocol.messages import Chunk, CloseStream, Job, ModelKey, NextChunk, OpenStream

if TYPE_CHECKING:
    from gateway.engines.wire.state import NodeState
    from tests.support.gateway_process import Process
    from tests.support.mlflow_server import MlflowServer

UNKNOWN = ModelKey("no-such-model", "1", "f")


def command(*commands: str) -> bytes:
    """Return the body that has api-commands or api-streams run these commands, one a row."""
    return body(do=list(commands))


def loaded(node: Process, model: str) -> list[object]:
    """Return the log's records of loads of a model."""
    return [record for record in node.events("model_loaded") if record["model"] == model]


def is_warm(state: NodeState, key: ModelKey) -> bool:
    """Return whether the node says that it has the model."""
    return key in state.models and state.models[key].status.state == "warm"


async def test_a_version_is_loaded_and_predicts(node: Process, mlflow_server: MlflowServer) -> None:
    """The node fetches the files itself, and its answer is the model's."""
    version = await find_version(mlflow_server.url, "api-sums/1")
    async with linked(node.url, gateway="first") as client:
        assert client.hello is not None
        assert (client.hello.pid, client.hello.protocol) == (node.pid, 1)
        assert await client.load(version) >= 0
        reply = await client.ask(version.key, Job(BODY))
        assert orjson.loads(reply.body) == [3.0, 7.0]
        state = await client.wait_for_state(lambda state: is_warm(state, version.key))
        assert (state.models[version.key].wanted, state.models[version.key].status.workers) == (1, 1)


async def test_requests_of_one_message_are_all_answered(node: Process, mlflow_server: MlflowServer) -> None:
    """One that is wrong fails alone, with the cells that are."""
    version = await find_version(mlflow_server.url, "api-sums/1")
    async with linked(node.url) as client:
        await client.load(version)
        started = await client.start(version.key, *[Job(BODY)] * 50, Job(b'{"inputs": {"a": ["x"]}}'))
        *good, bad = started.values()
        answers = await asyncio.gather(*good)
        assert {answer.body for answer in answers} == {b"[3.0,7.0]"}
        with pytest.raises(InvalidInput):
            await bad


async def test_requests_of_two_gateways_share_one_model(node: Process, mlflow_server: MlflowServer) -> None:
    """It is loaded once for both, and each gateway gets the answers to its own requests."""
    version = await find_version(mlflow_server.url, "api-sums/1")
    loads = len(loaded(node, "api-sums/1"))
    other = b'{"dataframe_split": {"columns": ["a", "b"], "data": [[5.0, 5.0]]}}'
    async with linked(node.url, gateway="a") as one, linked(node.url, gateway="b") as two:
        await one.unload(version.key)
        await asyncio.gather(one.load(version, "ann"), two.load(version, "bob"))
        assert len(loaded(node, "api-sums/1")) == loads + 1
        for _ in range(20):
            first, second = await asyncio.gather(
                one.start(version.key, *[Job(BODY)] * 8), two.start(version.key, *[Job(other)] * 8)
            )
            assert {answer.body for answer in await asyncio.gather(*first.values())} == {b"[3.0,7.0]"}
            assert {answer.body for answer in await asyncio.gather(*second.values())} == {b"[10.0]"}
        state = await one.wait_for_state(lambda state: is_warm(state, version.key))
        assert state.models[version.key].status.workers == 1


async def test_a_model_that_is_not_loaded_is_said_so(node: Process) -> None:
    """The gateway loads it then."""
    async with linked(node.url) as client:
        with pytest.raises(ModelNotLoaded):
            await client.ask(UNKNOWN, Job(BODY))
        with pytest.raises(ModelNotLoaded):
            await client.ask(UNKNOWN, OpenStream(Job(BODY), 1))


async def test_a_load_that_fails_says_why(node: Process, mlflow_server: MlflowServer) -> None:
    """With the text for the client and the log for the operator, and in the state for a while."""
    version = await find_version(mlflow_server.url, "api-broken/1")
    async with linked(node.url) as client:
        with pytest.raises(ModelLoadError) as caught:
            await client.load(version)
        assert "Traceback" in caught.value.log
        state = await client.wait_for_state(lambda state: version.key in state.failures)
        assert state.failures[version.key] in str(caught.value)


async def test_errors_of_the_model_arrive_with_their_fields(
    node: Process, mlflow_server: MlflowServer
) -> None:
    """The gateway decides what its client sees of them."""
    version = await find_version(mlflow_server.url, "api-commands/1")
    async with linked(node.url) as client:
        await client.load(version)
        with pytest.raises(ModelError) as caught:
            await client.ask(version.key, Job(command("raise it")))
        assert caught.value.exception
        assert "Traceback" in caught.value.log
        with pytest.raises(WorkerCrashed):
            await client.ask(version.key, Job(command("die")))


async def test_a_large_body_and_its_answer_arrive(node: Process, mlflow_server: MlflowServer) -> None:
    """They take the lane for such messages, and are complete."""
    version = await find_version(mlflow_server.url, "api-sums/1")
    rows = [[float(number), 1.0] for number in range(100_000)]
    large = orjson.dumps({"dataframe_split": {"columns": ["a", "b"], "data": rows}})
    async with linked(node.url) as client:
        await client.load(version)
        await client.unload()  # now the node knows the number, which a large message may overtake
        reply = await client.ask(version.key, Job(large))
        assert orjson.loads(reply.body) == [row[0] + 1.0 for row in rows]


async def test_a_stream_comes_chunk_by_chunk(node: Process, mlflow_server: MlflowServer) -> None:
    """Each is computed when it is asked for; closing it frees the worker for other requests."""
    version = await find_version(mlflow_server.url, "api-streams/1")
    async with linked(node.url) as client:
        await client.load(version)
        first = await client.ask(version.key, OpenStream(Job(command("say a b")), 7))
        assert isinstance(first, Chunk)
        assert (first.body, (await client.ask(version.key, NextChunk(7))).body) == (b'"a"', b'"b"')
        assert (await client.ask(version.key, NextChunk(7))).body is None
        assert (await client.ask(version.key, CloseStream(7))).body is None
        with pytest.raises(WorkerCrashed):
            await client.ask(version.key, NextChunk(7))
        endless = await client.ask(version.key, OpenStream(Job(command("count 1000")), 8))
        assert endless.body
        await client.ask(version.key, CloseStream(8))
        assert orjson.loads((await client.ask(version.key, Job(command("say a")))).body) == ["a"]


@pytest.mark.slow
async def test_queued_requests_that_are_cancelled_never_run(
    node: Process, mlflow_server: MlflowServer
) -> None:
    """Neither those of a link that ended: the queue is empty while the worker still has its first request."""
    key = (version := await find_version(mlflow_server.url, "api-commands/1")).key
    async with linked(node.url) as client:
        await client.load(version)
        async with linked(node.url) as gone:
            await gone.number(key)
            begun = [*(await client.start(key, Job(command("sleep 8")))).values()]
            for _ in range(2):  # a worker is given a second batch before it has answered the first
                await asyncio.sleep(0.3)
                begun += (await client.start(key, Job(command("x")))).values()
            queued = await client.start(key, Job(command("sleep 300")))
            await gone.start(key, *[Job(command("sleep 300"))] * 50)
            await client.wait_for_state(lambda state: state.models[key].status.waiting > 50)
            for job_id in queued:
                await client.send(messages.encode_cancel(job_id))
        await client.wait_for_state(lambda state: state.models[key].status.waiting <= 1)
        await asyncio.wait_for(asyncio.gather(*begun), 60)


async def test_a_pinned_version_is_not_unloaded_until_no_gateway_pins_it(
    node: Process, mlflow_server: MlflowServer
) -> None:
    """Pins are the union over links; those of a link that went hold for a minute."""
    version = await find_version(mlflow_server.url, "api-tens/1")
    key = version.key
    async with linked(node.url) as client:
        async with linked(node.url) as other:
            await client.load(version)
            await client.control(Pins((key,)))
            await other.control(Pins((key,)))
            await client.wait_for_state(lambda state: state.models[key].pinned)
            with pytest.raises(ModelPinned):
                await other.unload(key)
            await client.control(Pins(()))
            with pytest.raises(ModelPinned):
                await client.unload(key)
            await other.control(Pins(()))
            await other.unload(key)
            await other.wait_for_state(lambda state: key not in state.models)
            await client.load(version)
            await other.control(Pins((key,)))
            await client.wait_for_state(lambda state: state.models[key].pinned)
        with pytest.raises(ModelPinned):
            await client.unload(key)


async def test_a_change_is_told_long_before_the_next_second(
    node: Process, mlflow_server: MlflowServer
) -> None:
    """Gateways route by the state: a model that is loaded here is known as warm after few states."""
    version = await find_version(mlflow_server.url, "api-sums/2")
    async with linked(node.url) as client:
        before = len(client.states)
        await client.load(version)
        await client.wait_for_state(lambda state: is_warm(state, version.key))
        told = [state.models.get(version.key) for state in client.states[before:]]
        assert any(model is not None and model.status.state == "loading" for model in told)
        await client.unload()  # nothing: an empty one is answered at once
        await client.unload(version.key)
        await client.wait_for_state(lambda state: version.key not in state.models)


async def test_a_probe_starts_a_process(node: Process) -> None:
    """The gateway asks for it when it wants to know whether the node is well."""
    async with linked(node.url) as client:
        await client.call(Probe)
        assert client.state.spawn_failures == 0
