"""Proves how requests, streams and loads go over links: in one message a turn, each with an end."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.domain.refs import ModelRef, parse_selector
from gateway.engines.engine import Order
from gateway.engines.wire.messages import Jobs, decode_from_gateway, encode_replies
from gateway.errors import ArtifactLocationForbidden
from tests.gateway.engines.fleet.harness import LIMITS, fleet, key, version
from workers.errors import ModelPinned, PoolClosed, PredictionTimeout, WorkerCrashed
from workers.protocol.messages import Chunk, Job, NextChunk, OpenStream, Reply

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from tests.gateway.engines.fleet.harness import FleetHarness
    from tests.support.played_nodes import PlayedNode

LARGE = bytes(300_000)


class SentMessages:
    """The messages that reach a node, in order."""

    def __init__(self, node: PlayedNode) -> None:
        self.requests: list[int] = []
        self.sizes: list[int] = []
        link = node.links[0]
        send = link.send

        def record(message: Sequence[bytes | memoryview]) -> None:
            whole = b"".join(message)
            content = decode_from_gateway(whole)
            if isinstance(content, Jobs):
                self.requests.append(len(content.ids))
                self.sizes.append(len(whole))
            send(message)

        link.send = record  # type: ignore[method-assign] # to see what passes


def ask(nodes: FleetHarness, *bodies: bytes) -> list[asyncio.Task[Reply]]:
    """Start predictions at once, and let them arrive."""
    tasks = [nodes.loop.create_task(nodes.engine.predict(key("m"), Job(body))) for body in bodies]
    nodes.loop.advance(0.001)
    return tasks


def test_a_version_that_the_gateway_refuses_is_loaded_nowhere() -> None:
    """Its own settings decide, whatever those of the nodes are."""
    with fleet() as nodes:
        nodes.forbidden.add("m")
        asked = nodes.predict("m")
        nodes.loop.advance(0.1)
        with pytest.raises(ArtifactLocationForbidden):
            asked.result()
        assert sum(node.load_count for node in nodes.nodes) == 0


def test_requests_of_one_turn_are_one_message() -> None:
    """64 clients at once cost one write."""
    with fleet(1) as nodes:
        home = nodes.warm("m")
        sent = SentMessages(home)
        tasks = ask(nodes, *(b"%d" % number for number in range(64)))
        assert sent.requests == [64]
        nodes.answer_all()
        assert [task.result().body for task in tasks] == [b"answer to %d" % number for number in range(64)]


def test_a_large_body_is_a_message_of_its_own() -> None:
    """Small requests never wait until a large one is read; small ones do not add up to a large one."""
    with fleet(1) as nodes:
        home = nodes.warm("m")
        sent = SentMessages(home)
        tasks = ask(nodes, b"1", LARGE, b"2", *[bytes(100_000)] * 4)
        assert sorted(sent.requests) == [1, 2, 4]
        assert sum(size > 256 * 1024 for size in sent.sizes) == 1
        nodes.answer_all()
        assert all(task.done() for task in tasks)


def test_a_models_first_large_request_waits_until_the_node_knows_its_number() -> None:
    """A large message may overtake the small one that told the number."""
    with fleet(1) as nodes:
        nodes.nodes[0].warm.add(key("m"))
        nodes.loop.advance(1.1)
        sent = SentMessages(nodes.nodes[0])
        (task,) = ask(nodes, LARGE)
        nodes.answer_all()
        assert len(task.result().body) > len(LARGE)
        assert sent.requests == [1]


def test_a_client_that_goes_away_is_told_to_the_node_and_its_answer_dropped() -> None:
    """Other clients get theirs."""
    with fleet(1) as nodes:
        home = nodes.warm("m")
        gone, other = ask(nodes, b"gone", b"other")
        job = home.jobs[0]
        gone.cancel()
        nodes.loop.advance(0.001)
        assert home.cancelled == [job.id]
        job.link.tell(encode_replies([job.id], [Reply(b"late", 0.1)]))
        nodes.answer_all()
        assert other.result().body == b"answer to other"
        assert nodes.engine.nodes()[0].in_flight == 0


def test_a_request_that_a_node_never_answers_times_out() -> None:
    """The node should have said so itself; the link stays, and the node gets a message."""
    with fleet(1, replace(LIMITS, request_seconds=5.0)) as nodes:
        home = nodes.warm("m")
        (task,) = ask(nodes, b"x")
        nodes.loop.advance(4.5)
        (later,) = ask(nodes, b"y")
        nodes.loop.advance(1.5)
        assert isinstance(task.exception(), PredictionTimeout)
        assert len(home.cancelled) == 1
        assert not later.done()
        nodes.answer_all()
        assert later.result().body == b"answer to y"


def test_a_reply_of_the_wrong_kind_is_a_crash() -> None:
    """A chunk answers no prediction."""
    with fleet(1) as nodes:
        home = nodes.warm("m")
        (task,) = ask(nodes, b"x")
        job = home.jobs.pop()
        job.link.tell(encode_replies([job.id], [Chunk(b"x")]))
        nodes.loop.advance(0.01)
        assert isinstance(task.exception(), WorkerCrashed)


def test_a_stream_is_read_chunk_by_chunk_and_closed() -> None:
    """The node computes a chunk when it is asked for it, and hears when the reader leaves."""
    with fleet(1) as nodes:
        home = nodes.warm("m")
        opening = nodes.start(nodes.engine.stream(key("m"), Job(b"x")))
        assert [type(job.request) for job in home.jobs] == [OpenStream]
        nodes.answer_all()
        stream = opening.result()
        assert nodes.loop.run(anext(stream)) == b"first of x"
        reading = nodes.start(stream.next_body())
        assert [type(job.request) for job in home.jobs] == [NextChunk]
        nodes.answer_all()
        assert reading.result().startswith(b"next of ")
        nodes.loop.call(stream.close)
        nodes.loop.advance(0.001)
        assert home.closed_streams == [home_stream_id(reading.result())]


def home_stream_id(chunk: bytes) -> int:
    """Return the stream's id, which the played node writes into its chunks."""
    return int(chunk.removeprefix(b"next of "))


def test_a_stream_that_has_begun_does_not_run_again() -> None:
    """Its client has a part of the answer; one that has none yet is opened elsewhere."""
    with fleet(2) as nodes:
        home = nodes.warm("m")
        opening = nodes.start(nodes.engine.stream(key("m"), Job(b"x")))
        nodes.answer_all()
        stream = opening.result()
        nodes.loop.run(anext(stream))
        reading = nodes.start(stream.next_body())
        home.die()
        nodes.loop.advance(0.05)
        with pytest.raises(WorkerCrashed, match="was lost"):
            reading.result()
        nodes.loop.call(stream.close)

        async def read() -> bytes:
            async with nodes.service.stream(ModelRef("m", parse_selector("1")), Job(b"y")) as result:
                return await anext(result.chunks)

        nodes.warm("m")
        other = next(node for node in nodes.nodes if key("m") in node.warm)
        second = nodes.start(read())
        home.up = True
        other.die()
        nodes.loop.advance(8.0)
        nodes.answer_all()
        nodes.loop.advance(0.01)
        assert second.result() == b"first of y"


def test_a_stream_whose_client_left_before_its_first_chunk_is_closed_twice() -> None:
    """Once now and once after the chunk, since the request may be on its way behind the first message."""
    with fleet(1) as nodes:
        home = nodes.warm("m")
        opening = nodes.start(nodes.engine.stream(key("m"), Job(b"x")))
        job = home.jobs[0]
        opening.cancel()
        nodes.loop.advance(0.001)
        assert len(home.closed_streams) == 1
        job.link.tell(encode_replies([job.id], [Chunk(b"late")]))
        nodes.loop.advance(0.001)
        assert len(home.closed_streams) == 2


def test_concurrent_first_requests_share_one_load() -> None:
    """One load on one node, and it is warm at once, before the node's state says so."""
    with fleet() as nodes:
        home = nodes.order("m")[0]
        home.slow = True
        tasks = [nodes.predict("m", b"%d" % number) for number in range(5)]
        assert len(home.loads) == 1
        assert nodes.engine.status(key("m")).state == "cold"
        home.finish_loads()
        nodes.loop.advance(0.01)
        assert nodes.engine.status(key("m")).state == "warm"
        nodes.answer_all()
        assert all(task.result().reply.body.startswith(b"answer to") for task in tasks)
        assert tasks[0].result().timing.download == 0.25


def test_a_load_that_gets_more_owners_tells_its_node() -> None:
    """Their share of the node may allow what that of the first one does not."""
    with fleet(1) as nodes:
        home = nodes.nodes[0]
        home.slow = True
        owners: list[str | None] = ["one"]
        load = nodes.start(nodes.engine.load(Order(version("m"), owners)))
        owners.append(None)
        nodes.loop.call(nodes.engine.notify_owners_changed)
        nodes.loop.advance(0.001)
        assert list(home.owners.values()) == [("one", None)]
        home.finish_loads()
        nodes.loop.advance(0.01)
        assert load.result() == 0.25


def test_a_model_that_another_gateway_loaded_is_used() -> None:
    """A node's state says what is warm there, whichever gateway asked for it."""
    with fleet() as nodes:
        other = nodes.nodes[2]
        other.warm.add(key("m"))
        nodes.loop.advance(1.1)
        task = nodes.predict("m", b"x")
        assert other.given == [b"x"]
        nodes.answer_all()
        assert task.result().reply.body == b"answer to x"


def test_a_busy_model_goes_to_more_nodes_and_requests_to_the_less_busy_one() -> None:
    """They go there once it is warm. A version that this gateway did not load is looked up."""
    with fleet() as nodes:
        home, second, third = nodes.order("m")
        home.warm.add(key("m"))
        home.wanted[key("m")] = 2
        nodes.loop.advance(1.1)
        first = ask(nodes, *[b"x"] * 10)
        assert len(home.jobs) == 10
        nodes.loop.advance(3.0)
        assert nodes.located == [key("m")]
        assert key("m") in second.warm
        assert key("m") not in third.warm
        more = ask(nodes, *[b"y"] * 8)
        assert len(second.jobs) == 8, "of two, the one with fewer requests is chosen"
        nodes.answer_all()
        assert all(task.done() for task in [*first, *more])


def test_no_more_replicas_than_the_settings_allow() -> None:
    """A node may want more."""
    with fleet(limits=replace(LIMITS, replicas_max=1)) as nodes:
        home = nodes.warm("m")
        home.wanted[key("m")] = 3
        nodes.loop.advance(1.1)
        ask(nodes, b"x")
        nodes.loop.advance(4.0)
        assert sum(key("m") in node.warm for node in nodes.nodes) == 1
        nodes.answer_all()


def test_pins_are_where_the_requests_go() -> None:
    """Before a model is warm it is pinned everywhere; a node that it left may evict it."""
    with fleet(2) as nodes:
        nodes.loop.call(lambda: nodes.engine.pin(key("m")))
        nodes.loop.advance(0.001)
        assert [node.links[0].pins for node in nodes.nodes] == [{key("m")}] * 2
        home = nodes.warm("m")
        other = next(node for node in nodes.nodes if node is not home)
        assert (home.links[0].pins, other.links[0].pins) == (frozenset({key("m")}), frozenset())
        with pytest.raises(ModelPinned):
            nodes.loop.run(nodes.engine.unload(key("m")))
        home.die()
        nodes.loop.advance(0.05)
        assert other.links[0].pins == {key("m")}
        nodes.loop.call(lambda: nodes.engine.unpin(key("m")))
        nodes.loop.advance(0.001)
        assert other.links[0].pins == set()


def test_unload_is_for_all_nodes() -> None:
    """Wherever the model is."""
    with fleet(2, replace(LIMITS, replicas=2)) as nodes:
        nodes.warm("m")
        nodes.predict("m")
        nodes.loop.advance(3.0)
        nodes.answer_all()
        assert [key("m") in node.warm for node in nodes.nodes] == [True, True]
        nodes.loop.run(nodes.engine.unload(key("m")))
        assert [key("m") in node.warm for node in nodes.nodes] == [False, False]
        assert not nodes.engine.is_loaded(key("m"))


def test_what_nodes_tell_is_summed() -> None:
    """Workers, requests, memory and budgets of all nodes; a node that is lost counts no more."""
    with fleet(2, replace(LIMITS, replicas=2)) as nodes:
        nodes.warm("m")
        ask(nodes, b"x")
        nodes.loop.advance(3.0)
        status = nodes.engine.statuses()[key("m")]
        assert (status.state, status.workers, status.running) == ("warm", 2, 1)
        memory = nodes.engine.memory_report()
        assert (memory.budget_bytes, memory.base_bytes, memory.model_bytes) == (2**34, 200, {key("m"): 20})
        nodes.answer_all()
        nodes.nodes[1].die()
        nodes.nodes[0].failures = {key("broken"): "It raised."}
        nodes.loop.advance(1.1)
        assert nodes.engine.memory_report().budget_bytes == 2**33
        assert nodes.engine.failures() == {key("broken"): "It raised."}
        assert nodes.engine.status(key("broken")).reason == "It raised."


def test_round_trips_are_measured() -> None:
    """The console shows them."""
    with fleet(1) as nodes:
        nodes.loop.advance(6.0)
        assert nodes.engine.nodes()[0].round_trip_seconds is not None


def test_an_engine_that_closes_waits_for_answers() -> None:
    """What runs is answered within the time, and what comes later is refused."""
    with fleet(1) as nodes:
        nodes.warm("m")
        (task,) = ask(nodes, b"x")
        closing = nodes.start(nodes.engine.close(drain_seconds=5.0))
        assert not closing.done()
        nodes.answer_all()
        nodes.loop.advance(0.05)
        assert task.result().body == b"answer to x"
        assert closing.done()
        with pytest.raises(PoolClosed):
            nodes.loop.run(nodes.engine.load(Order(version("m"))))
