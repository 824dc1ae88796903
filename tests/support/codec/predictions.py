"""Predictions of every type, and the values that a strict parser must read from their JSON."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import uuid
from typing import Any

import numpy as np
import pandas as pd
import pydantic
from scipy import sparse


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Text(str):
    pass


class Point(pydantic.BaseModel):
    x: float
    tags: set[str]


@dataclasses.dataclass
class Pair:
    left: Any
    right: Any


class Named(collections.namedtuple("Named", "a b")):
    pass


UTC = datetime.UTC
WHEN = datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
NAIVE = datetime.datetime(2024, 1, 2, 3, 4, 5)  # noqa: DTZ001 - the point
TENTH = 0.10000000149011612  # the float32 that is nearest to 0.1

PREDICTIONS: dict[str, tuple[Any, Any]] = {
    "none": (None, None),
    "scalars": ([1, 1.5, True, "a"], [1, 1.5, True, "a"]),
    "nan": ([float("nan"), float("inf"), -float("inf"), np.nan, np.float64("nan")], [None] * 5),
    "array": (np.array([[1.5, np.nan], [np.inf, 2]]), [[1.5, None], [None, 2.0]]),
    "float32": (np.array([0.1], dtype=np.float32), [TENTH]),
    "float32 scalar": ([np.float32(0.1), np.float16(0.5)], [TENTH, 0.5]),
    "long double": ([np.longdouble("0.5"), np.array([0.5], dtype=np.longdouble)], [0.5, [0.5]]),
    "big-endian": (np.array([1, 2], dtype=">i4"), [1, 2]),
    "big-endian floats": (np.array([[1.5], [2.5]], dtype=">f8"), [[1.5], [2.5]]),
    "not contiguous": (np.arange(6).reshape(2, 3).T, [[0, 3], [1, 4], [2, 5]]),
    "0-d": (
        [np.array(5), np.array(np.nan), np.array("x"), np.array(0.5, dtype=np.longdouble)],
        [5, None, "x", 0.5],
    ),
    "empty arrays": ([np.array([]), np.empty((2, 0)), np.empty((0, 2))], [[], [[], []], []]),
    "booleans": (np.array([True, False]), [True, False]),
    "unsigned": (np.array([2**64 - 1], dtype=np.uint64), [2**64 - 1]),
    "texts": (np.array([["a", "ö"]]), [["a", "ö"]]),
    "bytes array": (np.array([b"hi"]), ["aGk="]),
    "objects": (np.array([1, "a", None, np.float32(0.1)], dtype=object), [1, "a", None, TENTH]),
    "masked": (np.ma.masked_array([1.5, 2.5], mask=[False, True]), [1.5, None]),
    "structured": (np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]), [[1, 2.5]]),
    "complex": (np.array([1 + 2j]), [[1.0, 2.0]]),
    "times": (np.array(["2024-01-02", "NaT"], dtype="datetime64[D]"), ["2024-01-02", None]),
    "time table": (np.array([["2024-01-02T03"]], dtype="datetime64[h]"), [["2024-01-02T03"]]),
    "durations": (np.array([90, "NaT"], dtype="timedelta64[s]"), ["P0DT0H1M30S", None]),
    "series": (pd.Series([1.5, np.nan]), [{"0": 1.5}, {"0": None}]),
    "named series": (pd.Series([1], name="y"), [{"y": 1}]),
    "frame": (
        pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": [0.5, np.nan]}, index=[7, 8]),
        [{"a": 1, "b": "x", "c": 0.5}, {"a": 2, "b": None, "c": None}],
    ),
    "frame of every dtype": (
        pd.DataFrame(
            {
                "when": pd.Series([pd.Timestamp("2024-01-02"), pd.NaT]),
                "zoned": pd.Series([pd.Timestamp("2024-01-02T01:00", tz="UTC"), pd.NaT]),
                "int": pd.array([1, None], dtype="Int64"),
                "bool": pd.array([True, None], dtype="boolean"),
                "kind": pd.Categorical(["a", None]),
                "thin": pd.arrays.SparseArray([0.0, 1.5]),
                "narrow": np.array([0.1, np.nan], dtype=np.float32),
                "cell": [np.array([1, 2]), {"k": decimal.Decimal("1.50")}],
            }
        ),
        [
            {
                "when": "2024-01-02T00:00:00",
                "zoned": "2024-01-02T01:00:00+00:00",
                "int": 1,
                "bool": True,
                "kind": "a",
                "thin": 0.0,
                "narrow": TENTH,
                "cell": [1, 2],
            },
            {
                "when": None,
                "zoned": None,
                "int": None,
                "bool": None,
                "kind": None,
                "thin": 1.5,
                "narrow": None,
                "cell": {"k": 1.5},
            },
        ],
    ),
    "empty frames": (
        [pd.DataFrame(), pd.DataFrame({"a": []}), pd.DataFrame(index=[1, 2])],
        [[], [], [{}, {}]],
    ),
    "odd columns": (
        pd.DataFrame([[1, 2, 3, 4]], columns=pd.Index([0, 1.5, True, None], dtype=object)),
        [{"0": 1, "1.5": 2, "true": 3, "null": 4}],
    ),
    "time columns": (pd.DataFrame([[1]], columns=[pd.Timestamp("2024-01-02")]), [{"2024-01-02T00:00:00": 1}]),
    "multi-index columns": (
        pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")])),
        [{"('a', 'x')": 1, "('a', 'y')": 2}],
    ),
    "nested pandas": ({"f": pd.DataFrame({"a": [1]}), "i": pd.Index([1, 2])}, {"f": [{"a": 1}], "i": [1, 2]}),
    "pandas missing": (
        [pd.NA, pd.NaT, pd.Timestamp("2024-01-02"), pd.Timedelta("90s")],
        [None, None, "2024-01-02T00:00:00", "P0DT0H1M30S"],
    ),
    "decimals": (
        [decimal.Decimal("1.10"), decimal.Decimal("NaN"), decimal.Decimal("-Infinity")],
        [1.1, None, None],
    ),
    "far decimals": (
        [decimal.Decimal("1E+200"), decimal.Decimal("1E-200"), decimal.Decimal("1E-999999")],
        [1e200, 1e-200, 0.0],
    ),
    "sets": ([{3, 1, 2}, frozenset({"a"}), {b"x"}], [[1, 2, 3], ["a"], ["eA=="]]),
    "bytes": ([b"x" * 60, bytearray(b"hi"), memoryview(b"hi")], ["eHh4" * 20, "aGk=", "aGk="]),
    "python times": (
        [WHEN, NAIVE, WHEN.date(), WHEN.time(), datetime.timedelta(seconds=90)],
        ["2024-01-02T03:04:05+00:00", "2024-01-02T03:04:05", "2024-01-02", "03:04:05", "P0DT0H1M30S"],
    ),
    "wide integers": ([2**64, -(2**63) - 1, {"k": 2**100}], [2**64, -(2**63) - 1, {"k": 2**100}]),
    "wide beside all else": (
        [2**64, np.float64(0.5), np.nan, WHEN, b"hi", {1, 2}, Level.HIGH, Colour.RED, None, True],
        [2**64, 0.5, None, "2024-01-02T03:04:05+00:00", "aGk=", [1, 2], 3, "red", None, True],
    ),
    "tuples": ((1, (2, Named(3, 4))), [1, [2, [3, 4]]]),
    "sequences": ([range(3), collections.deque([1, 2])], [[0, 1, 2], [1, 2]]),
    "mappings": (
        [collections.OrderedDict(a=1), collections.defaultdict(list, b=[1])],
        [{"a": 1}, {"b": [1]}],
    ),
    "keys": (
        {1: "a", None: "b", False: "c", np.int64(7): "d", ("t", 1): "e"},
        {"1": "a", "null": "b", "false": "c", "7": "d", "('t', 1)": "e"},
    ),
    "numpy in dicts": ({"a": np.int64(1), "b": [np.bool_(True), np.str_("x")]}, {"a": 1, "b": [True, "x"]}),
    "enums": ([Colour.RED, Level.HIGH], ["red", 3]),
    "subclasses": ([Text("a"), {Text("k"): Text("v")}], ["a", {"k": "v"}]),
    "pydantic": (Point(x=0.5, tags={"b", "a"}), {"x": 0.5, "tags": ["a", "b"]}),
    "dataclass": (
        Pair(np.float32(0.1), Pair(WHEN, 2**70)),
        {"left": TENTH, "right": {"left": "2024-01-02T03:04:05+00:00", "right": 2**70}},
    ),
    "uuid": (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    "sparse": ([sparse.csr_matrix([[0, 1.5]]), sparse.coo_array([[0, 2]])], [[[0.0, 1.5]], [[0, 2]]]),
    "surrogates": (["\ud800"], ["\ud800"]),
}
