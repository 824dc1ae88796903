"""Predictions of odd types have one form in every answer format; endless ones end in an error."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime
import enum
import fractions
import io
import ipaddress
import itertools
import pathlib
import types
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pydantic
import pytest
from pyarrow import ipc

from workers.codec import formats, plain
from workers.codec.json import answer as json_answer
from workers.codec.request import DecodedRequest
from workers.codec.v2.body import OutputOptions
from workers.errors import ModelError, NotAcceptable
from workers.protocol.messages import ARROW, CSV, OPEN_INFERENCE, Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Colour(enum.Enum):
    RED = "red"


class Shade(str, enum.Enum):  # noqa: UP042 - StrEnum has another __str__
    DARK = "dark"


class Pair(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Place:
    city: str
    inside: Any = None


class Pet(pydantic.BaseModel):
    name: str
    file: pathlib.Path = pathlib.Path("a/b")


class Wrapped:
    """A class that only numpy's protocol makes readable, as those of jax, xarray and others."""

    def __init__(self, values: Any) -> None:
        self._values = values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.asarray(self._values, dtype)


def yields(*values: Any) -> Iterator[Any]:
    yield from values


def months() -> pd.PeriodIndex:
    return pd.PeriodIndex(["2024-01", "2024-02"], freq="M")


# The predictions, made anew for each format, and their JSON.
ODD: dict[str, tuple[Callable[[], Any], Any]] = {
    "generator": (partial(yields, 1, 2), [1, 2]),
    "map": (partial(map, float, [1, 2]), [1.0, 2.0]),
    "filter": (partial(filter, None, [0, 1]), [1]),
    "reversed": (partial(reversed, [1, 2]), [2, 1]),
    "zip": (lambda: zip([1, 2], ["a", "b"], strict=True), [[1, "a"], [2, "b"]]),
    "enumerate": (lambda: enumerate(["a"]), [[0, "a"]]),
    "chain": (lambda: itertools.chain([1], [2]), [1, 2]),
    "records": (lambda: ({"a": n} for n in range(2)), [{"a": 0}, {"a": 1}]),
    "iterators in an iterator": (lambda: (yields(n, n) for n in range(2)), [[0, 0], [1, 1]]),
    "iterators in a list": (lambda: [yields(1), map(str, [2])], [[1], ["2"]]),
    "iterators in a dict": (lambda: {"a": yields(1, 2)}, {"a": [1, 2]}),
    "iterators in a frame": (lambda: pd.DataFrame({"a": [yields(1), yields(2)]}), [{"a": [1]}, {"a": [2]}]),
    "wide integers in an iterator": (lambda: yields(2**70, 1), [2**70, 1]),
    "keys": ({"b": 1, "a": 2}.keys, ["b", "a"]),
    "values": ({"b": 1, "a": 2}.values, [1, 2]),
    "items": ({"b": 1, "a": 2}.items, [["b", 1], ["a", 2]]),
    "period": (lambda: pd.Period("2024-01", "M"), "2024-01"),
    "period of an hour": (lambda: pd.Period("2024-01-02 03:00", "h"), "2024-01-02T03:00"),
    "period of a week": (lambda: pd.Period("2024-01-01", "W"), "2024-01-01/2024-01-07"),
    "periods": (months, ["2024-01", "2024-02"]),
    "series of periods": (lambda: pd.Series(months(), name="p"), [{"p": "2024-01"}, {"p": "2024-02"}]),
    "missing period": (
        lambda: pd.Series(pd.PeriodIndex(["2024", "NaT"], freq="Y")),
        [{"0": "2024"}, {"0": None}],
    ),
    "frame of periods": (
        lambda: pd.DataFrame({"p": months(), "x": [1, 2]}),
        [{"p": "2024-01", "x": 1}, {"p": "2024-02", "x": 2}],
    ),
    "interval": (lambda: pd.Interval(0, 1.5), {"left": 0, "right": 1.5, "closed": "right"}),
    "namedtuple": (lambda: Pair(1, 2), [1, 2]),
    "deque": (lambda: collections.deque([1, 2]), [1, 2]),
    "range": (lambda: range(2), [0, 1]),
    "frozenset": (lambda: frozenset([2, 1]), [1, 2]),
    "array": (lambda: array.array("d", [1.5]), [1.5]),
    "view of bytes": (lambda: memoryview(b"ab"), "YWI="),
    "view of integers": (lambda: memoryview(array.array("i", [1, 2])), [1, 2]),
    "bytearray": (lambda: bytearray(b"ab"), "YWI="),
    "proxy": (lambda: types.MappingProxyType({"a": 1}), {"a": 1}),
    "namespace": (lambda: types.SimpleNamespace(a=1), {"a": 1}),
    "dataclass": (
        lambda: Place("Bern", [Place("Ulm")]),
        {"city": "Bern", "inside": [{"city": "Ulm", "inside": None}]},
    ),
    "dataclasses": (lambda: [Place("Bern", 1)], [{"city": "Bern", "inside": 1}]),
    "pydantic": (lambda: Pet(name="Rex"), {"name": "Rex", "file": "a/b"}),
    "enum": (lambda: [Colour.RED], ["red"]),
    "enum of texts": (lambda: [Shade.DARK], ["dark"]),
    "uuid": (lambda: [uuid.UUID(int=1)], ["00000000-0000-0000-0000-000000000001"]),
    "path": (lambda: [pathlib.Path("/a/b")], ["/a/b"]),
    "address": (lambda: [ipaddress.ip_address("127.0.0.1")], ["127.0.0.1"]),
    "fractions": (lambda: [fractions.Fraction(1, 4), fractions.Fraction(4, 2)], [0.25, 2]),
    "duration": (lambda: datetime.timedelta(1), "P1DT0H0M0S"),
    "missing": (lambda: [1, pd.NA, pd.NaT], [1, None, None]),
    "arrow table": (lambda: pa.table({"a": [2**60 + 1, None]}), [{"a": 2**60 + 1}, {"a": None}]),
    "arrow batch": (lambda: pa.record_batch({"a": ["x"]}), [{"a": "x"}]),
    "arrow array": (lambda: pa.array([1, 2]), [1, 2]),
    "arrow chunks": (lambda: pa.chunked_array([[1], [2]]), [1, 2]),
    "arrow scalar": (lambda: pa.scalar(1.5), 1.5),
    "numpy's protocol": (lambda: Wrapped([[1.5], [2.5]]), [[1.5], [2.5]]),
    "numpy's protocol in a list": (lambda: [Wrapped(1.5), Wrapped(2.5)], [1.5, 2.5]),
    "numpy's protocol in a frame": (lambda: pd.DataFrame({"a": [Wrapped([1])]}), [{"a": [1]}]),
}  # fmt: skip


def encode_body(predictions: object, accept: str) -> bytes:
    options = OutputOptions(None, None, binary=False, schema=None)
    request = DecodedRequest(None, output_options=options)
    return formats.encode(predictions, request, Job(b"", accept=accept)).body


@pytest.mark.parametrize("name", ODD)
def test_json(name: str) -> None:
    """Each has the form of the plain values that it holds."""
    create, wanted = ODD[name]
    assert json_answer.to_json(create()) == json_answer.to_json(wanted)


ALIKE = [
    *("generator", "map", "filter", "reversed", "chain", "records", "iterators in an iterator"),
    *("wide integers in an iterator", "keys", "values", "namedtuple", "deque", "range", "frozenset", "array"),
    *(
        "enum",
        "enum of texts",
        "uuid",
        "path",
        "address",
        "fractions",
        "dataclass",
        "dataclasses",
        "pydantic",
    ),
    *("arrow array", "arrow chunks", "proxy", "namespace", "numpy's protocol in a list"),
]


@pytest.mark.parametrize("accept", [OPEN_INFERENCE, CSV, ARROW])
@pytest.mark.parametrize("name", ALIKE)
def test_other_formats(name: str, accept: str) -> None:
    """Each is what a list or an object of the same values is: tensors, a table, or no table."""
    create, wanted = ODD[name]
    try:
        expected = encode_body(wanted, accept)
    except NotAcceptable:
        with pytest.raises(NotAcceptable):
            encode_body(create(), accept)
        return
    assert encode_body(create(), accept) == expected


@pytest.mark.parametrize("name", ["series of periods", "missing period", "frame of periods"])
def test_periods_in_tables(name: str) -> None:
    """They are text in each format, since Arrow has no such type."""
    create, wanted = ODD[name]
    table = ipc.open_stream(encode_body(create(), ARROW)).read_all()
    assert table.to_pylist() == wanted
    assert pa.types.is_string(table.schema.types[0]) or pa.types.is_large_string(table.schema.types[0])
    first_line = encode_body(create(), CSV).decode().splitlines()[1]
    assert first_line.split(",")[0] == next(iter(wanted[0].values()))
    outputs = orjson.loads(encode_body(create(), OPEN_INFERENCE))["outputs"]
    assert outputs[0]["parameters"] == {"content_type": "str"}
    assert outputs[0]["data"] == [next(iter(record.values())) for record in wanted]


def test_tables_of_arrow() -> None:
    """They keep their types, and a wide integer beside a null is exact."""
    (create, wanted) = ODD["arrow table"]
    table = ipc.open_stream(encode_body(create(), ARROW)).read_all()
    assert table.to_pylist() == wanted
    assert encode_body(create(), CSV) == b'a\r\n1152921504606846977\r\n""\r\n'


def test_odd_cells_in_arrow() -> None:
    """Values that Arrow lacks are sent in their JSON form if they have one."""
    frame = pd.DataFrame({"c": [Colour.RED], "w": [Wrapped([1.5])], "p": [pathlib.Path("a")], "x": [1]})
    table = ipc.open_stream(encode_body(frame, ARROW)).read_all()
    assert table.to_pylist() == [{"c": "red", "w": [1.5], "p": "a", "x": 1}]


def test_two_columns_of_one_name() -> None:
    """A table of Arrow's may have them, but a JSON object may not."""
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(ModelError, match="both named"):
        json_answer.to_json(table)


def test_an_endless_iterator_of_small_items() -> None:
    """It ends at a number of items."""
    with pytest.raises(ModelError, match=f"within {plain.MAX_ITEMS} items"):
        json_answer.to_json(itertools.repeat(0))


@pytest.mark.parametrize("item", [bytes(2**20), np.zeros(2**17), ["x" * 2**20], {"a": {"b": "x" * 2**20}}])
@pytest.mark.parametrize("wrap", [lambda endless: endless, lambda endless: {"a": [endless]}])
def test_an_endless_iterator_of_large_items(item: Any, wrap: Callable[[Any], Any]) -> None:
    """It ends at a number of bytes, wherever it stands."""
    with pytest.raises(ModelError, match=f"within {plain.MAX_BYTES} bytes"):
        json_answer.to_json(wrap(itertools.repeat(item)))


def test_iterators_without_bottom() -> None:
    """An iterator of iterators of iterators ends as well."""

    def deeper() -> Iterator[Any]:
        yield deeper()

    for value in (deeper(), [deeper()]):
        with pytest.raises(ModelError, match="nested too deeply"):
            json_answer.to_json(value)


def test_an_iterator_that_raises() -> None:
    """Its error is the answer, and not the items before it."""
    for value in ((1 // n for n in (1, 0)), [(1 // n for n in (1, 0))]):
        with pytest.raises(ZeroDivisionError):
            json_answer.to_json(value)


def test_a_file_is_no_prediction() -> None:
    """Its lines are not sent, although it is an iterator."""
    for value in (io.StringIO("a"), [io.BytesIO(b"a")]):
        with pytest.raises(ModelError, match="a file"):
            json_answer.to_json(value)


def test_a_fraction_beyond_doubles() -> None:
    """It has no form; a whole number of any size has."""
    with pytest.raises(ModelError, match="too large"):
        json_answer.to_json(fractions.Fraction(10**400, 3))
    assert json_answer.to_json(fractions.Fraction(10**400)) == b"1" + b"0" * 400


@pytest.mark.parametrize(("unit", "text"), [("Y", "2024-01-01"), ("M", "2024-01-01"), ("D", "2024-01-01")])
def test_times_without_a_day(unit: str, text: str) -> None:
    """Parsers of times take no month alone, so it is written as its first day."""
    months = np.array(["2024-01-01"], dtype=f"M8[{unit}]")
    assert orjson.loads(json_answer.to_json(months)) == [text]
