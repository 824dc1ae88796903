"""What both predict alike, or fail at alike, and answer differently."""

from __future__ import annotations

import json
from typing import Any

from tests.zoo.differences import Difference


def _without_newlines(value: Any) -> Any:
    return json.loads(json.dumps(value).replace("\\n", ""))


def _valid(value: Any) -> Any:
    """NaN and infinities as null."""
    return json.loads(json.dumps(value), parse_constant=lambda _: None)


def _without_nat(value: Any) -> Any:
    return json.loads(json.dumps(value).replace('"NaT"', "null"))


def _written(
    title: str, *, there: str, here: str, why: str, cases: tuple[str, ...], translate: Any = None
) -> Difference:
    """What both predict alike and write differently."""
    named = tuple(f"answers/{name}" for name in cases)
    return Difference(
        title,
        there,
        here,
        why,
        server=200,
        gateway=200,
        model="answers",
        source="model",
        cases=named,
        translate=translate,
    )


ANSWERS = (
    _written(
        "NaN and infinities",
        there="writes NaN and Infinity, which is no JSON",
        here="null",
        why="most parsers refuse the whole answer",
        cases=("NaN", "NaN and infinities", "NaN deep inside", "frame with nulls", "list of pydantic"),
        translate=_valid,
    ),
    _written(
        "Missing times",
        there='the text "NaT"',
        here="null",
        why="it is pandas' name for nothing",
        cases=("NaT", "frame with NaT"),
        translate=_without_nat,
    ),
    _written(
        "Bytes",
        there="base64 with a newline after each 76 characters and at the end",
        here="base64 without newlines",
        why="strict decoders refuse them",
        cases=("bytes", "bytes longer than a line", "bytearray", "ndarray of bytes", "frame of bytes"),
        translate=_without_newlines,
    ),
    _written(
        "Times of numpy",
        there="nanoseconds as a number",
        here="ISO 8601, as for pandas' and Python's times",
        why="the unit cannot be seen in the number",
        cases=("ndarray of datetimes", "datetime of numpy"),
    ),
    Difference(
        "What Python's encoder does not know",
        "500 without JSON: timedelta, Decimal, set, complex, NA, sparse matrix, dataclass, Index, "
        "a frame in a dict, keys that are no text, iterators and views of dicts, periods, fractions, UUIDs, "
        "paths, enums, tensors, tables of Arrow and polars",
        "ISO 8601 durations, exact numbers, sorted lists, pairs, null, nested lists, objects, lists, "
        "records, keys as text, lists, ISO 8601 (quarters as 2024Q1), numbers, texts, texts, their values, "
        "nested lists, records",
        "each has an obvious form",
        server=500,
        gateway=200,
        model="answers",
        source="model",
        cases=tuple(
            f"answers/{name}"
            for name in (
                "ndarray of timedeltas",
                "ndarray of complex",
                "frame of timedeltas",
                "index",
                "dict of frames",
                "dict with numpy keys",
                "dict with tuple keys",
                "timedelta",
                "decimal",
                "decimal in a frame",
                "set",
                "NA",
                "sparse matrix",
                "dataclass",
                "complex",
                "generator",
                "map",
                "zip",
                "dict keys",
                "dict values",
                "period",
                "index of periods",
                "frame of periods",
                "fraction",
                "uuid",
                "path",
                "enum",
            )
        ),
    ),
    Difference(
        "The model's own exceptions",
        "400, with the complete stack trace: paths, source lines and values in it",
        "500 `MODEL_ERROR` with the exception's type, at `…/invocations` 400 `BAD_REQUEST`; "
        "the trace is in the log",
        "the fault is not the caller's, and a trace tells strangers of the machine",
        server=400,
        gateway=500,
        model="raises",
        source="",
        reason="The model raised",
        cases=(
            "sk-linear/null",
            "sk-unsigned/rows: instances inputs",
            "sk-unsigned/one row: instances inputs",
            "sk-unsigned/digits as text: instances inputs",
            "answers/raises",
        ),
    ),
)
