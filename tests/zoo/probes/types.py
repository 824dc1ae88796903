"""Inputs of the models that tell what they received: values that fit each type, and values that do not."""

from __future__ import annotations

from typing import Any

from tests.zoo.forms import JSON_FORMS
from tests.zoo.samples import Entry, Plain, Probe, Table

LIMIT = 2**53
NAN, INFINITY = float("nan"), float("inf")


def cells(name: str, *values: Any, forms: tuple[str, ...] = (), like: tuple[Any, ...] = ()) -> Probe:
    """One column `value` of these cells."""
    same = Table({"value": list(like or values)})
    return Probe(name, Table({"value": list(values)}), forms=forms, like=same)


def times(name: str, *values: str | None, like: tuple[str | None, ...] = ()) -> Probe:
    """One column `value` of times."""
    return Probe(
        name, Table({"value": list(values)}, times=("value",)), like=Table({"value": list(like or values)})
    )


def octets(name: str, *values: str) -> Probe:
    """One column `value` of base64."""
    table = Table({"value": list(values)}, octets=("value",))
    return Probe(name, table, like=table)


def nan() -> Probe:
    """One column `value` of NaN, in the JSON forms that are about JSON alone."""
    return cells("NaN", NAN, forms=("dataframe_records", "instances", "inputs"))


BOOLEAN = (
    cells("fits", True, False),
    cells("text", "true", "false"),
    cells("numbers", 1, 0),
    cells("null", True, None),
    nan(),
)
INTEGER = (
    cells("fits", 1, -2, 2**31 - 1),
    cells("beyond", 3_000_000_000),
    cells("decimals that are whole", 2.0, 3.0),
    cells("fraction", 2.7),
    cells("null", 1, None),
    cells("booleans", True, False),
    cells("digits as text", "5"),
)
LONG = (
    cells("fits", 1, -2, 2**63 - 1),
    cells("beyond", 2**63),
    nan(),
    cells("decimals that are whole", 2.0, 3.0),
    cells("fraction", 2.7, 1.0),
    cells("exact beside a decimal", 2.0, LIMIT + 1, like=(2, LIMIT + 1)),
    cells("null", 1, None),
    cells("booleans", True, False),
    cells("digits as text", "5"),
)
FLOAT = (
    cells("fits", 0.5, 0.1, None),
    cells("whole numbers", 1, 2),
    cells("beyond", 1e300),
    cells("NaN and infinities", NAN, INFINITY, -INFINITY),
    cells("digits as text", "0.5"),
)
DOUBLE = (
    cells("fits", 0.5, 0.1, None),
    cells("whole numbers", 1, 2),
    cells("large whole number", LIMIT + 1, 0.5),
    cells("NaN and infinities", NAN, INFINITY, -INFINITY),
    cells("digits as text", "1.5"),
    cells("text", "x"),
    cells("booleans", True, False),
)
STRING = (
    cells("fits", "a", "ü ☃", ""),
    cells("null", "a", None),
    cells("numbers", 5, 6, forms=JSON_FORMS),
    cells("mixed", "a", 5, forms=JSON_FORMS),
    cells("digits", "007", "1e3"),
    nan(),
    cells("names of nothing", "NA", "null", "nan"),
)
BINARY = (
    octets("fits", "YWI=", "AAEC"),
    octets("no base64", "a!"),
    nan(),
    cells("numbers", 5),
)
DATETIME = (
    times("fits", "2024-01-02T12:30:00", "2024-06-01T06:07:08"),
    times(
        "fractions",
        "2024-01-02T12:30:00",
        "2024-06-01T00:00:00.123456",
        like=("2024-01-02T12:30:00.000000", "2024-06-01T00:00:00.123456"),
    ),
    times("dates", "2024-01-02", "2024-06-01"),
    times("in UTC", "2024-01-02T12:30:00Z", like=("2024-01-02T12:30:00",)),
    times("with offset", "2024-01-02T12:30:00+02:00", like=("2024-01-02T10:30:00",)),
    times(
        "two forms", "2024-01-02", "2024-01-02T12:30:00", like=("2024-01-02T00:00:00", "2024-01-02T12:30:00")
    ),
    cells("numbers", 1704164645),
    times("null", "2024-01-02", None),
    times("lower case", "2024-01-02t12:30:00", like=("2024-01-02T12:30:00",)),
    nan(),
    cells("year", "2024", forms=JSON_FORMS),
    cells("month", "2024-01", forms=JSON_FORMS),
    cells("slashes", "01/02/2024", forms=JSON_FORMS),
    cells("empty text", "", forms=JSON_FORMS),
    cells("no time", "soon"),
    cells("no such day", "2024-02-30"),
)
ARRAY = (
    cells("fits", [1, 2], [3], forms=("dataframe_split", "dataframe_records")),
    cells("fits instances", [1, 2], [3], forms=("instances",)),
    Probe("fits inputs", Plain({"value": [1, 2]}), forms=("inputs",), like=Table({"value": [[1, 2]]})),
    cells("fraction", [1, 2.5], forms=("dataframe_split", "dataframe_records")),
    cells("no list", 1, forms=("dataframe_split",)),
)
OBJECT = (
    cells(
        "fits",
        {"x": 1.5, "label": "a"},
        {"x": 2.5},
        forms=("dataframe_split", "dataframe_records", "instances"),
    ),
    Probe("fits inputs", Plain([{"value": {"x": 1.5}}]), forms=("inputs",)),
    cells("lacking", {"label": "a"}, forms=("dataframe_split", "dataframe_records")),
    cells("unknown property", {"x": 1.5, "y": 2}, forms=("dataframe_split", "dataframe_records")),
    cells("text for a number", {"x": "1.5"}, forms=("dataframe_split", "dataframe_records")),
)
MAP = (
    cells(
        "fits", {"p": 1.5, "q": 2.5}, {"r": 0.5}, forms=("dataframe_split", "dataframe_records", "instances")
    ),
    cells("text for a number", {"p": "x"}, forms=("dataframe_split", "dataframe_records")),
)
ANY = (
    cells("texts", "a", "b", forms=("dataframe_split", "dataframe_records")),
    cells("mixed", 1, "a", [1], {"k": None}, forms=("dataframe_split", "dataframe_records")),
    cells("whole and decimal", 1, 2.5, forms=("dataframe_split", "dataframe_records")),
)
NESTED = (
    cells(
        "fits",
        [{"x": 1.5}],
        [{"x": 2.5, "label": "b"}, {"x": 3.5}],
        forms=("dataframe_split", "dataframe_records"),
    ),
    cells("unknown property", [{"x": 1.5, "y": 2}], forms=("dataframe_split",)),
)
ENTRIES = (
    Entry("type-boolean", BOOLEAN),
    Entry("type-integer", INTEGER),
    Entry("type-long", LONG),
    Entry("type-float", FLOAT),
    Entry("type-double", DOUBLE),
    Entry("type-string", STRING),
    Entry("type-binary", BINARY),
    Entry("type-datetime", DATETIME),
    Entry("type-array", ARRAY),
    Entry("type-object", OBJECT),
    Entry("type-map", MAP),
    Entry("type-any", ANY),
    Entry("type-nested", NESTED),
)
