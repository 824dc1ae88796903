"""Messages between gateway and node: each arrives unchanged, and whatever else arrives is a WireError."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import hypothesis.strategies as st
import orjson
import pytest
from hypothesis import HealthCheck, given, settings

from gateway.engines.wire import messages
from gateway.engines.wire.control import Failed, GatewayControl, NodeControl, NodeHello, State
from gateway.engines.wire.fields import WireError
from gateway.engines.wire.messages import Cancel, JobFailed, Jobs, Replies
from gateway.engines.wire.state import NodeState
from tests.support.frames import CHUNKS, REQUESTS
from tests.support.wire import ANSWERS, FAILED, FROM_GATEWAY, FROM_NODE, IDS
from workers.errors import InvalidInput, ModelNotLoaded
from workers.protocol.large_body import LargeBody
from workers.protocol.messages import Chunk, InputProblem, Job, NextChunk, Reply, WorkerRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

BUSY_MACHINE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
NUMBERS = st.integers(0, 2**32 - 1)


def joined(parts: Sequence[bytes | memoryview]) -> bytes:
    return b"".join(parts)


@settings(BUSY_MACHINE, max_examples=200)
@given(st.lists(st.tuples(IDS, NUMBERS, REQUESTS), min_size=1, max_size=5))
def test_requests_survive_a_roundtrip(jobs: list[tuple[int, int, WorkerRequest]]) -> None:
    """Jobs and requests for streams arrive unchanged and in order, with their ids and models."""
    ids, models, requests = zip(*jobs, strict=True)
    encoded = messages.encode_jobs(list(zip(ids, models, strict=True)), requests)
    assert messages.decode_from_gateway(joined(encoded)) == Jobs(ids, models, requests)


@settings(BUSY_MACHINE, max_examples=200)
@given(st.lists(st.tuples(IDS, ANSWERS | CHUNKS), min_size=1, max_size=5))
def test_replies_survive_a_roundtrip(replies: list[tuple[int, Reply | Chunk]]) -> None:
    """Replies and chunks arrive unchanged and in order, with the ids of their jobs."""
    ids, answers = zip(*replies, strict=True)
    assert messages.decode_from_node(joined(messages.encode_replies(ids, answers))) == Replies(ids, answers)


def test_a_reply_in_pieces_arrives_in_one() -> None:
    """The pieces of a large body are joined, and are no longer counted."""
    released: list[int] = []
    pieces = [memoryview(b"ab"), memoryview(b"c")]
    large = LargeBody(pieces, release=released.append, release_later=released.append)
    encoded = messages.encode_replies([7, 8], [Reply(b"", 0.5, large=large), Chunk(b"x", 0.25)])
    assert messages.decode_from_node(joined(encoded)) == Replies(
        (7, 8), (Reply(b"abc", 0.5), Chunk(b"x", 0.25))
    )
    assert sum(released) == 3


@BUSY_MACHINE
@given(FROM_GATEWAY)
def test_what_a_gateway_tells_survives_a_roundtrip(message: GatewayControl) -> None:
    """Every control message of a gateway arrives unchanged, with all fields of a version."""
    assert messages.decode_from_gateway(joined(messages.encode_control(message))) == message


@BUSY_MACHINE
@given(FROM_NODE)
def test_what_a_node_tells_survives_a_roundtrip(message: NodeControl) -> None:
    """Every control message of a node arrives unchanged, with all of its state."""
    assert messages.decode_from_node(joined(messages.encode_control(message))) == message


@BUSY_MACHINE
@given(FAILED)
def test_failures_survive_a_roundtrip(failed: Failed) -> None:
    """A call that failed arrives with the class and the fields of its error."""
    arrived = messages.decode_from_node(joined(messages.encode_control(failed)))
    assert isinstance(arrived, Failed)
    assert (arrived.id, type(arrived.error), str(arrived.error)) == (
        failed.id,
        type(failed.error),
        str(failed.error),
    )
    assert vars(arrived.error) == vars(failed.error)


def test_an_error_and_a_cancel_arrive() -> None:
    """They name the job by its id."""
    error = InvalidInput("no", (InputProblem(1, None, "bad"),), total=3)
    failed = messages.decode_from_node(joined(messages.encode_error(2**64 - 1, error)))
    assert isinstance(failed, JobFailed)
    assert (failed.id, vars(failed.error)) == (2**64 - 1, vars(error))
    assert messages.decode_from_gateway(joined(messages.encode_cancel(5))) == Cancel(5)


@settings(BUSY_MACHINE, max_examples=300)
@given(
    st.binary(max_size=200)
    | st.builds(lambda kind, rest: bytes([kind]) + rest, st.integers(1, 5), st.binary())
)
def test_garbage_is_a_wire_error(garbage: bytes) -> None:
    """Whatever the bytes are, they are refused by the one error, or are a message by chance."""
    for decode in (messages.decode_from_gateway, messages.decode_from_node):
        with suppress(WireError):
            decode(garbage)


@settings(BUSY_MACHINE, max_examples=300)
@given(st.data())
def test_changed_wholeare_refused_or_valid(data: st.DataObject) -> None:
    """A byte that is changed, left out or added raises nothing but WireError."""
    requests = messages.encode_jobs([(1, 1), (2, 1)], [Job(b"[1]"), NextChunk(4)])
    replies = messages.encode_replies([1], [Reply(b"[1]", 0.5)])
    control = messages.encode_control(State(NodeState()))
    whole = [joined(requests), joined(replies), joined(control)]
    original = bytearray(data.draw(st.sampled_from(whole)))
    at = data.draw(st.integers(0, len(original) - 1))
    original[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    for decode in (messages.decode_from_gateway, messages.decode_from_node):
        with suppress(WireError):
            decode(bytes(original))


@pytest.mark.parametrize("size", [0, 3, 8])
def test_a_body_that_is_not_as_long_as_said_is_refused(size: int) -> None:
    """Cut messages never become shorter requests."""
    whole = joined(messages.encode_jobs([(1, 1)], [Job(b"[1,2,3,4]")]))
    with pytest.raises(WireError):
        messages.decode_from_gateway(whole[: len(whole) - 9 + size])
    with pytest.raises(WireError):
        messages.decode_from_gateway(whole + b"x" * (size + 1))


def test_each_side_refuses_what_only_the_other_sends() -> None:
    """A node takes no replies and no state, and a gateway no jobs and no loads."""
    with pytest.raises(WireError, match="no gateway sends"):
        messages.decode_from_gateway(joined(messages.encode_error(1, ModelNotLoaded("x"))))
    with pytest.raises(WireError, match="unknown type"):
        messages.decode_from_gateway(joined(messages.encode_control(State(NodeState()))))
    with pytest.raises(WireError, match="no node sends"):
        messages.decode_from_node(joined(messages.encode_cancel(1)))


def test_an_empty_batch_and_one_that_is_too_long_are_refused() -> None:
    """A batch has one request at least and MAX_BATCH at most."""
    for count in (0, messages.MAX_BATCH + 1):
        encoded = messages.encode_jobs([(1, 1)] * count, [NextChunk(1)] * count)
        with pytest.raises(WireError, match="empty or too long"):
            messages.decode_from_gateway(joined(encoded))


@pytest.mark.parametrize("value", [True, -1, 1.5, "1", None, 2**63])
def test_a_field_of_another_type_is_refused(value: object) -> None:
    """Numbers are integers in range, and a boolean is none."""
    hello = {
        "type": "hello",
        "node": "n",
        "protocol": 1,
        "product": "1",
        "cores": value,
        "workers_per_model": 1,
        "pid": 1,
    }
    with pytest.raises(WireError, match="cores"):
        messages.decode_from_node(bytes([messages.CONTROL]) + orjson.dumps(hello))


def test_fields_that_a_newer_program_adds_are_ignored() -> None:
    """A node of the next version may say more."""
    hello = NodeHello("n", 1, "1", None, 2, 1, 7)
    text = orjson.loads(joined(messages.encode_control(hello))[1:])
    newer = bytes([messages.CONTROL]) + orjson.dumps({**text, "added": [1]})
    assert messages.decode_from_node(newer) == hello
