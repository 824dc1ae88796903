"""Proves each row of the table of a fleet's failures, with nodes that the test plays."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.engines.engine import Order
from gateway.engines.fleet.metrics import NODE_LOSSES, NODE_MOVES, NODE_RETRIES, NODE_SPILLS
from gateway.serving.worker_health import WorkerHealth
from tests.gateway.engines.fleet.harness import LIMITS, fleet, key, version
from workers.errors import CapacityExceeded, ModelLoadError, NodeLost, NoNodes, WorkerCrashed
from workers.protocol.messages import Job

if TYPE_CHECKING:
    import asyncio
    from typing import Any


def body_of(task: asyncio.Task[Any]) -> bytes:
    """Return the body of a reply that is there."""
    body: bytes = task.result().reply.body
    return body


def test_a_dead_nodes_requests_run_once_more_on_another_node(caplog: pytest.LogCaptureFixture) -> None:
    """The model is loaded on the next node of its order, and all requests are answered there."""
    with fleet() as nodes:
        home = nodes.warm("m")
        _, second, _ = nodes.order("m")
        tasks = [nodes.predict("m", b"%d" % number) for number in range(3)]
        assert len(home.jobs) == 3
        home.die()
        nodes.loop.advance(0.05)
        assert second.given == [b"0", b"1", b"2"]
        assert second.load_count == 1
        nodes.answer_all()
        assert [body_of(task) for task in tasks] == [b"answer to 0", b"answer to 1", b"answer to 2"]
        assert nodes.counters.value(NODE_LOSSES, home.name) == 1
        assert nodes.counters.value(NODE_RETRIES) == 3
    assert f"Lost node {home.name} with 3 jobs: Connection reset by peer" in caplog.text


def test_a_dead_node_is_linked_to_again_when_it_is_back() -> None:
    """Its models are gone. It is asked again and again, and then gets loads as before."""
    with fleet(1) as nodes:
        home = nodes.warm("m")
        home.die()
        nodes.loop.advance(0.01)
        assert [report.state for report in nodes.engine.nodes()] == ["lost"]
        nodes.loop.advance(20.0)
        assert nodes.engine.nodes()[0].reason == "Connection refused"
        home.up = True
        nodes.loop.advance(8.0)
        assert [report.state for report in nodes.engine.nodes()] == ["connected"]
        assert nodes.warm("m") is home


def test_a_silent_node_is_lost_after_three_seconds_and_its_late_answers_are_dropped() -> None:
    """The request runs on another node; what the silent one still sends belongs to no request."""
    with fleet() as nodes:
        home = nodes.warm("m")
        task = nodes.predict("m", b"x")
        home.hung = True
        nodes.loop.advance(2.5)
        assert not any(node.jobs for node in nodes.nodes if node is not home)
        nodes.loop.advance(2.0)
        late = list(home.jobs)
        other = next(node for node in nodes.nodes if node.jobs and node is not home)
        home.resume()
        assert late == [], "its link was ended, and its jobs with it"
        nodes.loop.advance(0.1)
        assert not task.done()
        other.answer_all()
        nodes.loop.advance(0.01)
        assert body_of(task) == b"answer to x"


def test_a_node_is_not_lost_because_this_process_stood_still() -> None:
    """A process that was stopped for longer than a node may be silent first reads what came meanwhile."""
    with fleet() as nodes:
        nodes.warm("m")
        nodes.loop._clock.now += 30.0
        nodes.loop.advance(2.0)
        assert all(report.state == "connected" for report in nodes.engine.nodes())
        assert not nodes.counters.value(NODE_LOSSES, "a")


def test_a_request_that_two_nodes_were_lost_with_runs_no_third_time() -> None:
    """It may be what ends them: the client gets the error of a crashed worker."""
    with fleet() as nodes:
        home = nodes.warm("m")
        task = nodes.predict("m", b"x")
        home.die()
        nodes.loop.advance(0.05)
        second = next(node for node in nodes.nodes if node.jobs)
        second.die()
        nodes.loop.advance(0.05)
        with pytest.raises(WorkerCrashed, match="one after the other"):
            task.result()
        assert [node.given.count(b"x") for node in nodes.nodes].count(1) == 2
        assert nodes.counters.value(NODE_RETRIES) == 1


def test_without_retry_a_lost_nodes_requests_fail() -> None:
    """A prediction that must not run twice does not."""
    with fleet(limits=replace(LIMITS, retry=False)) as nodes:
        home = nodes.warm("m")
        task = nodes.predict("m", b"x")
        home.die()
        nodes.loop.advance(0.05)
        with pytest.raises(WorkerCrashed, match="was lost"):
            task.result()
        assert nodes.counters.value(NODE_RETRIES) == 0


def test_a_full_node_is_skipped_for_half_a_minute() -> None:
    """The model goes to the next node of its order; the full one is asked again after 30 seconds."""
    with fleet() as nodes:
        home, second, _ = nodes.order("m")
        home.full = True
        assert nodes.warm("m") is second
        assert nodes.counters.value(NODE_SPILLS, home.name) == 1
        nodes.loop.advance(10.0)
        nodes.predict("m")
        nodes.loop.advance(15.0)
        assert home.load_count == 1
        nodes.answer_all()
        home.full = False
        nodes.loop.advance(10.0)
        nodes.predict("m")
        nodes.loop.advance(2.0)
        assert key("m") in home.warm
        nodes.answer_all()


def test_no_node_with_room_is_an_error_of_capacity() -> None:
    """Each node was asked once, and the client can try again."""
    with fleet() as nodes:
        for node in nodes.nodes:
            node.full = True
        task = nodes.predict("m")
        nodes.loop.advance(0.05)
        with pytest.raises(CapacityExceeded):
            task.result()
        assert [node.load_count for node in nodes.nodes] == [1, 1, 1]
        again = nodes.predict("m")
        nodes.loop.advance(0.05)
        assert isinstance(again.exception(), CapacityExceeded)
        assert sum(node.load_count for node in nodes.nodes) == 4, "only the home is asked while all are full"


def test_a_load_that_fails_is_tried_on_no_other_node() -> None:
    """It is the model that fails; its log comes along for the gateway's own."""
    with fleet() as nodes:
        for node in nodes.nodes:
            node.broken = True
        task = nodes.predict("m")
        nodes.loop.advance(0.05)
        error = task.exception()
        assert isinstance(error, ModelLoadError)
        assert (str(error), error.log) == ("The model's code raised.", "a traceback")
        assert sum(node.load_count for node in nodes.nodes) == 1


def test_a_load_whose_node_dies_goes_to_the_next_and_no_further_than_two() -> None:
    """A model may be what ends the nodes that load it."""
    with fleet() as nodes:
        order = nodes.order("m")
        for node in order:
            node.slow = True
        task = nodes.predict("m")
        order[0].die()
        nodes.loop.advance(0.05)
        assert len(order[1].loads) == 1
        order[1].die()
        nodes.loop.advance(0.05)
        with pytest.raises(WorkerCrashed, match="loading the model"):
            task.result()
        assert not order[2].loads


def test_without_any_node_a_request_waits_a_little_and_the_gateway_is_not_ready() -> None:
    """It gets the error that says so, which is 503; a node that comes in time answers it."""
    with fleet(1) as nodes:
        assert WorkerHealth(nodes.engine).healthy
        nodes.nodes[0].die()
        task = nodes.predict("m")
        assert not WorkerHealth(nodes.engine).healthy
        nodes.loop.advance(1.0)
        assert not task.done()
        nodes.loop.advance(1.5)
        with pytest.raises(NoNodes):
            task.result()
        nodes.nodes[0].up = True
        nodes.loop.advance(8.0)
        assert WorkerHealth(nodes.engine).healthy
        assert nodes.warm("m") is nodes.nodes[0]


def test_nodes_that_cannot_start_workers_make_the_gateway_unready_only_if_none_can() -> None:
    """One node that starts workers is enough; the process never ends itself for what nodes cannot do."""
    with fleet(2) as nodes:
        health = WorkerHealth(nodes.engine)
        nodes.nodes[0].spawn_failures = 5
        nodes.loop.advance(1.5)
        assert health.healthy
        nodes.nodes[1].spawn_failures = 4
        nodes.loop.advance(1.5)
        assert not health.can_start
        assert not nodes.engine.spawn_health.failing.is_set()


def test_a_node_that_joins_takes_over_when_it_has_loaded_the_model() -> None:
    """Requests stay where the model is warm, and none waits. A model without requests is not moved."""
    with fleet() as nodes:
        home, *rest = nodes.order("m")
        nodes.set_members(*rest)
        home.die()
        nodes.loop.advance(1.0)
        old = nodes.warm("m")
        assert old is rest[0]
        nodes.loop.advance(1.5)
        home.up = home.slow = True
        nodes.set_members(*nodes.nodes)
        nodes.loop.advance(5.0)
        assert not home.loads, "nothing asks for the model"
        task = nodes.predict("m", b"before")
        nodes.loop.advance(3.0)
        assert len(home.loads) == 1
        assert old.given[-1] == b"before"
        nodes.answer_all()
        home.finish_loads()
        nodes.loop.advance(0.01)
        after = nodes.predict("m", b"after")
        assert home.given == [b"after"]
        nodes.answer_all()
        assert (body_of(task), body_of(after)) == (b"answer to before", b"answer to after")
        assert nodes.counters.value(NODE_MOVES, "loaded") == 1


def test_a_node_that_leaves_serves_until_another_one_has_its_models() -> None:
    """A member that is none any more keeps what is warm, gets no loads, and is left after a while."""
    with fleet(2) as nodes:
        old = nodes.warm("m")
        other = next(node for node in nodes.nodes if node is not old)
        other.slow = True
        nodes.set_members(other)
        task = nodes.predict("m", b"x")
        assert old.given[-1] == b"x"
        nodes.loop.advance(2.0)
        other.finish_loads()
        nodes.answer_all()
        assert body_of(task) == b"answer to x"
        nodes.predict("m", b"y")
        assert other.given == [b"y"]
        nodes.answer_all()
        nodes.loop.advance(35.0)
        assert [report.name for report in nodes.engine.nodes()] == [other.name]
        assert not old.links
        assert not nodes.counters.value(NODE_LOSSES, old.name)


def test_a_node_that_drains_gets_no_loads_and_its_refusals_cost_no_request() -> None:
    """What it does not take any more runs elsewhere."""
    with fleet(2) as nodes:
        old = nodes.warm("m")
        old.draining = old.closing = True
        old.evict(key("m"))
        task = nodes.predict("m", b"x")
        nodes.loop.advance(0.05)
        nodes.answer_all()
        assert body_of(task) == b"answer to x"
        assert old.given == [b"first"]


def test_a_node_that_takes_no_more_requests_gets_none_though_its_models_are_loaded() -> None:
    """Its state goes on to have them; requests wait for the load on the other node, and do not ask again."""
    with fleet(2) as nodes:
        old = nodes.warm("m")
        other = next(node for node in nodes.nodes if node is not old)
        old.draining = old.closing = old.done = True
        other.slow = True
        nodes.loop.advance(1.1)
        tasks = [nodes.predict("m", b"x")]
        nodes.loop.advance(2.5)
        tasks += [nodes.predict("m", b"y")]
        nodes.loop.advance(0.1)
        assert not any(task.done() for task in tasks)
        other.finish_loads()
        nodes.loop.advance(0.01)
        nodes.answer_all()
        assert [body_of(task) for task in tasks] == [b"answer to x", b"answer to y"]


def test_a_model_that_its_node_has_evicted_is_loaded_again() -> None:
    """The node's answer counts at once, before its state says so."""
    with fleet(1) as nodes:
        home = nodes.warm("m")
        home.evict(key("m"))
        task = nodes.predict("m", b"x")
        nodes.loop.advance(0.01)
        nodes.answer_all()
        assert body_of(task) == b"answer to x"
        assert home.load_count == 2


def test_a_node_of_another_protocol_is_refused_and_others_are_used(caplog: pytest.LogCaptureFixture) -> None:
    """One line says so, and it is asked again slowly."""
    with fleet(2) as nodes:
        nodes.nodes[0].protocol = 7
        nodes.nodes[0].die()
        nodes.nodes[0].up = True
        nodes.loop.advance(60.0)
        reports = {report.name: report for report in nodes.engine.nodes()}
        assert reports["a"].state == "refused"
        assert reports["a"].reason == "It speaks protocol 7, and this gateway 1 to 1."
        assert nodes.warm("m") is nodes.nodes[1]
        nodes.nodes[0].protocol = 1
        nodes.loop.advance(30.0)
        assert [report.state for report in nodes.engine.nodes()] == ["connected", "connected"]
    assert sum(getattr(record, "event", "") == "node_refused" for record in caplog.records) == 1


def test_a_node_that_refuses_the_token_is_refused() -> None:
    """The reason is the node's."""
    with fleet(1) as nodes:
        nodes.nodes[0].refuses = "The token is wrong."
        nodes.nodes[0].die()
        nodes.nodes[0].up = True
        nodes.loop.advance(1.0)
        report = nodes.engine.nodes()[0]
        assert (report.state, report.reason) == ("refused", "The token is wrong.")


def test_garbage_ends_the_link_and_its_requests_run_elsewhere(caplog: pytest.LogCaptureFixture) -> None:
    """A node that sends what is no message is not trusted with what it has."""
    with fleet() as nodes:
        home = nodes.warm("m")
        task = nodes.predict("m", b"x")
        home.links[0].tell([b"\x09garbage"])
        nodes.loop.advance(0.05)
        nodes.answer_all()
        assert body_of(task) == b"answer to x"
    assert "a message of a kind that no node sends" in caplog.text


def test_the_engine_itself_says_that_a_node_was_lost() -> None:
    """The service decides on a second run, and counts it."""
    with fleet(1) as nodes:
        home = nodes.warm("m")
        task = nodes.start(nodes.engine.predict(key("m"), Job(b"x")))
        home.die()
        nodes.loop.advance(0.01)
        assert isinstance(task.exception(), NodeLost)
        load = nodes.start(nodes.engine.load(Order(version("m"))))
        nodes.loop.advance(3.0)
        assert isinstance(load.exception(), NoNodes)
