"""Any Open Inference body is decoded or rejected with InvalidInput, in little memory."""

from __future__ import annotations

import json
import random
import resource
import tracemalloc
from typing import Any

import numpy as np
import pytest
from mlflow.types.schema import DataType, Schema, TensorSpec

from tests.support.codec.specs import column, input_spec
from tests.support.codec.v2_bodies import binary_elements, binary_tensor, decode_error, make_job, tensor
from tests.workers.codec.test_malformed import PARAMS, SCHEMAS, mutated
from workers.codec import formats
from workers.errors import InvalidInput
from workers.protocol.messages import OPEN_INFERENCE, Job

DOUBLE = column(DataType.double)
GOOD = tensor("x", "FP64", [1.5, 2.5])
BINARY = {"name": "x", "datatype": "FP64", "shape": [1], "parameters": {"binary_data_size": 8}}
EIGHT = np.array([1.5]).tobytes()


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


MALFORMED: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "no object": (["x"], {}),
    "no name": ([without("name")], {}),
    "name no text": ([{**GOOD, "name": 5}], {}),
    "no shape": ([without("shape")], {}),
    "shape no list": ([{**GOOD, "shape": 2}], {}),
    "shape of floats": ([{**GOOD, "shape": [2.0]}], {}),
    "shape of booleans": ([{**GOOD, "shape": [True]}], {}),
    "negative": ([{**GOOD, "shape": [-1]}], {}),
    "two negatives": ([{**GOOD, "shape": [-1, -2]}], {}),
    "huge": ([{**GOOD, "shape": [2**40]}], {}),
    "beyond 64 bits": ([{**GOOD, "shape": [2**40, 2**40]}], {}),
    "beyond all": ([{**GOOD, "shape": [10**400]}], {}),
    "huge and empty": ([tensor("x", "FP64", [], [2**40, 0])], {}),
    "empty and huge": ([tensor("x", "FP64", [], [0, 2**40])], {}),
    "many dimensions": ([{**GOOD, "shape": [1] * 64 + [2]}], {}),
    "too few values": ([{**GOOD, "shape": [3]}], {}),
    "other nesting": ([tensor("x", "FP64", [[1.5, 2.5]], [2, 1])], {}),
    "ragged": ([tensor("x", "FP64", [[1.5], [2.5, 3.5]], [3])], {}),
    "no datatype": ([without("datatype")], {}),
    "unknown datatype": ([{**GOOD, "datatype": "BF16"}], {}),
    "datatype a list": ([{**GOOD, "datatype": ["FP64"]}], {}),
    "no data": ([without("data")], {}),
    "data and size": ([{**GOOD, "parameters": {"binary_data_size": 8}}], {"raw": EIGHT}),
    "data no list": ([{**GOOD, "data": "1.5, 2.5"}], {}),
    "unknown member": ([{**GOOD, "dtype": "FP64"}], {}),
    "twice": ([GOOD, GOOD], {}),
    "parameters no object": ([{**GOOD, "parameters": [1]}], {}),
    "unknown content type": ([tensor("x", "FP64", [1.5], content_type="pickle")], {}),
    "content type no text": ([tensor("x", "FP64", [1.5], content_type=["np"])], {}),
    "numbers as text": ([tensor("x", "FP64", [1.5], content_type="str")], {}),
    "unknown unit": ([tensor("x", "INT64", [1], unit="fortnight")], {}),
    "unit of a double": ([tensor("x", "INT64", [1], unit="s")], {}),
    "shared memory": ([{**without("data"), "parameters": {"shared_memory_region": "r"}}], {}),
    "size no number": ([{**BINARY, "parameters": {"binary_data_size": "8"}}], {"raw": EIGHT}),
    "size negative": ([{**BINARY, "parameters": {"binary_data_size": -8}}], {"raw": EIGHT}),
    "size true": ([{**BINARY, "parameters": {"binary_data_size": True}}], {"raw": EIGHT}),
    "size too large": ([{**BINARY, "parameters": {"binary_data_size": 16}}], {"raw": EIGHT}),
    "size enormous": ([{**BINARY, "parameters": {"binary_data_size": 2**62}}], {"raw": EIGHT}),
    "size of another shape": ([{**BINARY, "shape": [2]}], {"raw": EIGHT}),
    "size and huge shape": ([{**BINARY, "shape": [2**40]}], {"raw": EIGHT}),
    "size and wrapping shape": ([{**BINARY, "shape": [2**61 + 1]}], {"raw": EIGHT}),
    "bytes left": ([BINARY], {"raw": EIGHT + b"\0"}),
    "bytes of no input": ([GOOD], {"raw": EIGHT}),
    "binary without bytes": ([BINARY], {}),
    "not a boolean": ([{**BINARY, "datatype": "BOOL", "shape": [8]}], {"raw": b"\2" * 8}),
    "elements cut": ([{**BINARY, "datatype": "BYTES"}], {"raw": b"\xff\xff\xff\x7fabcd"}),
    "length cut": ([{**BINARY, "datatype": "BYTES"}], {"raw": binary_elements([b"a"]) + b"\0\0\0"}),
    "elements too many": ([{**BINARY, "datatype": "BYTES"}], {"raw": b"\0" * 8}),
    "id no text": ([GOOD], {"id": 5}),
    "request parameters no object": ([GOOD], {"parameters": "a"}),
    "unknown request content type": ([GOOD], {"parameters": {"content_type": "pickle"}}),
    "unknown parameter": ([GOOD], {"parameters": {"temperature": 1}}),
    "outputs no list": ([GOOD], {"outputs": {"name": "y"}}),
    "output no object": ([GOOD], {"outputs": ["y"]}),
    "output no name": ([GOOD], {"outputs": [{}]}),
    "output twice": ([GOOD], {"outputs": [{"name": "y"}, {"name": "y"}]}),
    "classification": ([GOOD], {"outputs": [{"name": "y", "parameters": {"classification": 3}}]}),
    "shared output": ([GOOD], {"outputs": [{"name": "y", "parameters": {"shared_memory_offset": 1}}]}),
    "binary no flag": ([GOOD], {"outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}),
    "all binary no flag": ([GOOD], {"parameters": {"binary_data_output": "yes"}}),
    "unknown top member": ([GOOD], {"output": [{"name": "y"}]}),
    "no inputs": ([], {}),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_rejected_as_input(case: str) -> None:
    """Each body is rejected with a message."""
    inputs, top = MALFORMED[case]
    assert str(decode_error(*inputs, schema=DOUBLE, **top))


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"[]", b'{"inputs": 5}', b'{"inputs": [NaN]}', b"[" * 100_000, b"\xff\xfe"]
)
def test_bodies_without_inputs(body: bytes) -> None:
    """A body that is no JSON object with inputs is rejected."""
    with pytest.raises(InvalidInput):
        formats.decode(Job(body, OPEN_INFERENCE, OPEN_INFERENCE), input_spec(DOUBLE))


@pytest.mark.parametrize("length", [0, 5, 10**15])
def test_wrong_json_length(length: int) -> None:
    """JSON that does not end at the given length is rejected."""
    with pytest.raises(InvalidInput):
        formats.decode(Job(make_job(GOOD).body, OPEN_INFERENCE, OPEN_INFERENCE, length), input_spec(DOUBLE))


@pytest.mark.serial
@pytest.mark.parametrize("schema", [DOUBLE, None, Schema([TensorSpec(np.dtype("float64"), (-1, -1))])])
def test_a_declared_shape_allocates_nothing(schema: Schema | None) -> None:
    """A tensor that only declares a terabyte allocates no memory. Measured: traced memory and peak RSS."""
    tracemalloc.start()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for shape in ([2**40], [2**20, 2**20], [2**31, 2**31, 2**31], [2**40, 0], [0, 2**40], [65_537, 0]):
        decode_error(tensor("x", "FP64", [], shape), schema=schema)
        decode_error({**BINARY, "shape": shape}, schema=schema, raw=EIGHT)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * 2**20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


def test_the_largest_empty_shape() -> None:
    """The most rows without values that may be declared are decoded."""
    assert formats.decode(make_job(tensor("x", "FP64", [], [65_536, 0])), input_spec(None)).data.shape == (
        65_536,
        0,
    )


SEEDS: list[list[dict[str, Any]]] = [
    [GOOD],
    [tensor("count", "INT64", [1, 2]), tensor("size", "FP64", [0.5, None]),
     tensor("name", "BYTES", ["a", None]), tensor("open", "BOOL", [True, False]),
     tensor("since", "BYTES", ["2024-01-02", "2024-01-02T03:04:05Z"])],
    [tensor("x", "BYTES", ['{"k": ["2024-01-01"]}', "null"], [2, 1], content_type="pd_json")],
    [tensor("a", "BYTES", ["p", "q"]), tensor("x", "INT32", [[1], [2]], [2, 1])],
    [tensor("input-0", "FP32", [[1.5, 2.5], [3.5, 4.5]], [2, 2], content_type="np")],
    [tensor("x", "BYTES", ["aGk="], content_type="base64"), tensor("since", "INT64", [5], unit="ms")],
]  # fmt: skip
TOPS: list[dict[str, Any]] = [
    {},
    {"id": "7", "parameters": {"content_type": "pd", "p": 1}},
    {"parameters": {"content_type": "dict", "q": [1.5]},
     "outputs": [{"name": "y", "parameters": {"binary_data": True}}]},
    {"parameters": {"content_type": "str", "binary_data_output": True}, "outputs": []},
]  # fmt: skip
NUMBERS: list[Any] = [
    -1,
    0,
    1,
    2,
    3,
    2**31,
    2**40,
    2**63,
    2**64,
    1.5,
    True,
    None,
    "2",
    [1],
    [2, 1],
    [0, 2**40],
]
BINARIES: list[list[tuple[dict[str, Any], bytes]]] = [
    [binary_tensor("x", "FP64", [1.5, np.nan])],
    [binary_tensor("x", "FP32", [[1.5, np.inf]]), binary_tensor("a", "BYTES", [b"p", b"\xff"])],
    [binary_tensor("count", "INT64", [1, -2]), binary_tensor("size", "FP16", [0.5, 1.5]),
     binary_tensor("name", "BYTES", [b"a", b""]), binary_tensor("open", "BOOL", [True, False]),
     binary_tensor("since", "INT64", [5, 6], unit="ns")],
    [binary_tensor("x", "BYTES", [b'{"k": []}', b"null"], content_type="pd_json"),
     binary_tensor("y", "UINT64", [2**64 - 1, 1])],
]  # fmt: skip


def mutated_inputs(inputs: Any, rng: random.Random) -> Any:
    """Return the inputs with one of them changed, mostly in a member that must fit the others."""
    index = rng.randrange(len(inputs)) if isinstance(inputs, list) and inputs else 0
    if not isinstance(inputs, list) or not inputs or not isinstance(inputs[index], dict):
        return mutated(inputs, rng)
    member = rng.choice(["shape", "datatype", "parameters", "data", "name", "all"])
    if member == "all":
        return mutated(inputs, rng)
    return [
        *inputs[:index],
        {**inputs[index], member: other_value(inputs[index], member, rng)},
        *inputs[index + 1 :],
    ]


def other_value(fields: dict[str, Any], member: str, rng: random.Random) -> Any:
    """Return another value for one member of a tensor."""
    if member == "data":
        return mutated(fields.get("data", []), rng)
    if member == "shape":
        return rng.choice([rng.choice(NUMBERS), [rng.choice(NUMBERS)], [2, rng.choice(NUMBERS)]])
    if member == "datatype":
        return rng.choice(["BOOL", "INT8", "UINT64", "FP16", "FP32", "FP64", "BYTES", "BF16", None])
    if member == "name":
        return rng.choice(["x", "a", "input-0", "count", "", 5, "n" * 500])
    key = rng.choice(["binary_data_size", "content_type", "unit", "shared_memory_region"])
    value = rng.choice([*NUMBERS, "np", "str", "base64", "datetime", "pd_json", "s"])
    parameters = fields.get("parameters")
    return {**(parameters if isinstance(parameters, dict) else {}), key: value}


def count_rejected(bodies: list[tuple[bytes, int | None]]) -> int:
    """Return how many bodies are rejected; the bodies take turns at the signatures and checks."""
    rejected = 0
    for number, (body, length) in enumerate(bodies):
        checks: Any = "mlflow" if number % 5 == 0 else "strict"
        spec = input_spec(SCHEMAS[number % len(SCHEMAS)], params=PARAMS, checks=checks)
        try:
            formats.decode(Job(body, OPEN_INFERENCE, OPEN_INFERENCE, length), spec)
        except InvalidInput as error:
            assert str(error)  # noqa: PT017 - it need not be raised
            rejected += 1
    return rejected


def damaged(body: bytes, rng: random.Random, number: int) -> bytes:
    """Return the body; in every fourth one byte is changed, every seventh is cut."""
    changed = bytearray(body)
    if number % 4 == 0:
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    if number % 7 == 0:
        del changed[rng.randrange(len(changed)) :]
    return bytes(changed)


def test_mutated_json() -> None:
    """Three thousand mutated bodies are decoded or rejected."""
    rng = random.Random(20240103)  # noqa: S311 - a seeded fuzz
    bodies: list[tuple[bytes, int | None]] = []
    for number in range(3000):
        inputs: Any = rng.choice(SEEDS)
        for _ in range(rng.randint(0, 2)):
            inputs = mutated_inputs(inputs, rng)
        top = rng.choice(TOPS) if rng.random() < 0.7 else mutated(rng.choice(TOPS), rng)
        document = {**(top if isinstance(top, dict) else {}), "inputs": inputs}
        bodies.append((damaged(json.dumps(document).encode(), rng, number), None))
    assert 1000 < count_rejected(bodies) < 3000


def test_mutated_binary() -> None:
    """Three thousand mutated bodies with bytes after their JSON are decoded or rejected."""
    rng = random.Random(20240104)  # noqa: S311 - a seeded fuzz
    bodies: list[tuple[bytes, int | None]] = []
    for number in range(3000):
        pairs = rng.choice(BINARIES)
        inputs: Any = [head for head, _ in pairs]
        raw = b"".join(part for _, part in pairs)
        if rng.random() < 0.7:
            inputs = mutated_inputs(inputs, rng)
        if rng.random() < 0.3:
            raw = rng.choice([raw[:-1], raw + b"\0", b"", raw[::-1], bytes(rng.randrange(256) for _ in raw)])
        document = json.dumps({**rng.choice(TOPS), "inputs": inputs}).encode()
        length = rng.choice([len(document)] * 8 + [len(document) - 1, len(document) + 1, 0, 2**60])
        bodies.append((damaged(document + raw, rng, number), length))
    assert 1000 < count_rejected(bodies) < 3000
