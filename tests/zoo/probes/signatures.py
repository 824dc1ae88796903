"""Inputs of the models whose signatures are more than one typed column, or none."""

from __future__ import annotations

from typing import Any

from tests.zoo.samples import Document, Entry, Plain, Probe, Table, Tensor, Tensors

LIMIT = 2**53
NULLS = Table({"key": ["p"], "rate": [None], "text": [None], "day": [None]}, times=("day",))
OPTIONAL: dict[str, list[Any]] = {
    "key": ["p", "q"],
    "flag": [True, False],
    "count": [1, 2],
    "rate": [0.5, 1.5],
    "text": ["a", "b"],
    "day": ["2024-01-02", "2024-01-03"],
}


def params(label: str, /, **values: Any) -> Probe:
    """One row, and params."""
    return Probe(label, Table({"value": [1.5]}), params=values)


def told(dtype: str, *cells: Any) -> Any:
    """What a model tells of a frame of one column."""
    return {
        "index": [str(row) for row in range(len(cells))],
        "columns": {"value": {"dtype": dtype, "cells": list(cells)}},
    }


OPTIONALS = (
    Probe("all", Table(OPTIONAL, times=("day",))),
    Probe("required alone", Table({"key": ["p"]})),
    Probe("some", Table({"key": ["p"], "rate": [0.5]})),
    Probe("nulls", NULLS, like=NULLS),
    Probe(
        "nulls of whole numbers",
        Table({"key": ["p"], "flag": [None], "count": [None]}),
        like=Table({"key": ["p"]}),
    ),
    Probe("a null among whole numbers", Table({"key": ["p", "q"], "count": [1, None]})),
    Probe("required missing", Table({"rate": [0.5]})),
)
UNNAMED = (
    Probe("rows", Tensor([[1.5, 2], [2.5, 3]]), like=Table({"0": [1.5, 2.5], "1": [2, 3]})),
    Probe(
        "columns with names", Table({"p": [1.5], "q": [2]}), forms=("dataframe_split", "dataframe_records")
    ),
    Probe(
        "one column too many",
        Table({"p": [1.5], "q": [2], "r": [3]}),
        forms=("dataframe_split", "dataframe_records"),
    ),
    Probe("fraction", Tensor([[1.5, 2.5]])),
)
NUMBERED = (
    Probe("by number", Table({0: [1.5, 2], 1: [0.5, 3]}), forms=("dataframe_split",)),
    Probe("by text", Table({"0": [1.5, 2], "1": [0.5, 3]}), like=Table({0: [1.5, 2], 1: [0.5, 3]})),
    Probe("rows", Tensor([[1.5, 0.5], [2, 3]])),
    Probe("one column too few", Tensor([[1.5]])),
)
UNSIGNED = (
    Probe("rows", Table({"a": [1, 2], "b": [0.5, 2.5], "c": ["x", "y"], "d": [True, False]})),
    Probe(
        "null in a table",
        Table({"a": [0.5, None]}),
        forms=("dataframe_split", "dataframe_records", "inputs", "csv", "parquet"),
    ),
    Probe(
        "null in records",
        Table({"a": [0.5, None]}),
        forms=("instances",),
        expect={
            "object": [["a", {"array": "object", "shape": [2], "cells": ["float 0.5", "NoneType None"]}]]
        },
    ),
    Probe("whole and decimal", Table({"a": [1, 2.5]})),
    Probe(
        "exact beside a null",
        Table({"value": [LIMIT + 1, None]}),
        forms=("dataframe_split", "dataframe_records"),
        expect=told("object", f"int {LIMIT + 1}", "NoneType None"),
    ),
    Probe("texts that are days", Table({"a": ["2024-01-02", "2024-06-01"]})),
    Probe("array", Tensor([[1, 2], [3, 4]])),
    Probe(
        "names",
        Tensors({"p": [1, 2], "q": [[0.5], [1.5]]}),
        like=Table({"p": [1, 2], "q": [[0.5], [1.5]]}),
    ),
    Probe("scalar", Tensor(5)),
    Probe("texts", Tensor(["a", "b"])),
    Probe("ragged", Tensor([[1, 2], [3]])),
)
TENSORS = (
    Entry(
        "tensor-unnamed",
        (
            Probe("array", Tensor([[1.5, 2.5, 3.5], [0.5, 1.0, 2.0]])),
            Probe("whole numbers", Tensor([[1, 2, 3]])),
            Probe("too narrow", Tensor([[1.5, 2.5]])),
            Probe("too flat", Tensor([1.5, 2.5, 3.5])),
            Probe("ragged", Tensor([[1.5, 2.5, 3.5], [1.0]])),
            Probe("text", Tensor([["a", "b", "c"]])),
            Probe("digits as text", Tensor([["1.5", "2", "3"]])),
            Probe("booleans", Tensor([[True, False, True]])),
            Probe("null", Tensor([[1.5, None, 2.5]])),
            Probe("empty", Tensor([])),
            Probe(
                "table",
                Table({"p": [1.5], "q": [2.5], "r": [3.5]}),
                forms=("dataframe_split", "dataframe_records"),
            ),
        ),
    ),
    Entry(
        "tensor-named",
        (
            Probe("arrays", Tensors({"place": [[1.5, 2.5], [0.5, 0.1]], "count": [1, 2]})),
            Probe("fraction", Tensors({"place": [[1.5, 2.5]], "count": [1.5]})),
            Probe("name missing", Tensors({"place": [[1.5, 2.5]]})),
            Probe("name unknown", Tensors({"place": [[1.5, 2.5]], "count": [1], "more": [1]})),
            Probe("exact", Tensors({"place": [[1.5, 2.5]], "count": [LIMIT + 1]})),
        ),
    ),
    Entry(
        "tensor-bytes",
        (
            Probe("array", Tensor([[[0, 255], [1, 2]]])),
            Probe("beyond", Tensor([[[0, 256], [1, 2]]])),
            Probe("negative", Tensor([[[0, -1], [1, 2]]])),
            Probe("fraction", Tensor([[[0.5, 1], [1, 2]]])),
        ),
    ),
    Entry("tensor-text", (Probe("array", Tensor(["a", "ü"])), Probe("numbers", Tensor([1, 2])))),
    Entry(
        "tensor-flags",
        (
            Probe("array", Tensor([[True, False]])),
            Probe("numbers", Tensor([[1, 2]])),
            Probe("text", Tensor([["false", "true"]])),
        ),
    ),
)
PARAMS = (
    params("defaults"),
    params("all", flag=True, count=7, rate=0.25, name="x", day="2024-05-06T07:08:09", stops=["c"]),
    params("whole number for a double", rate=2),
    params("fraction for a long", count=2.5),
    params("text for a boolean", flag="false"),
    params("number for a text", name=5),
    params("unknown", other=1),
    params("null", count=None),
    Probe("key unknown", Document({"dataframe_records": [{"value": 1.5}], "other": 1})),
    Probe(
        "keys for other servers",
        Document(
            {
                "dataframe_records": [{"value": 1.5}],
                "client_request_id": "a",
                "databricks_options": {"return_trace": True},
                "model": "m",
            }
        ),
    ),
)
THINGS = (
    Probe("fits", Plain([{"name": "a", "size": 1.5, "tags": ["t"]}, {"name": "b", "size": 2}])),
    Probe("lacking", Plain([{"name": "a"}])),
    Probe("text for a number", Plain([{"name": "a", "size": "1.5"}])),
    Probe("unknown field", Plain([{"name": "a", "size": 1.5, "other": 1}])),
    Probe("no list", Plain({"name": "a", "size": 1.5})),
    Probe("wrong form", Table({"name": ["a"], "size": [1.5]}), forms=("dataframe_split", "instances")),
)
TEXTS = (
    Probe("fits", Plain(["a", "b"])),
    Probe("number", Plain([1])),
    Probe("no list", Plain("a")),
)
MESSAGES = [{"role": "user", "content": "hello"}]
CHAT = (
    Probe("messages", Document({"messages": MESSAGES})),
    Probe("messages and params", Document({"messages": MESSAGES, "count": 5, "rate": 1.0})),
    Probe("no messages", Document({"messages": "hello"})),
    Probe("message lacks its role", Document({"messages": [{"content": "hello"}]})),
)

ENTRIES = (
    Entry("optional-columns", OPTIONALS),
    Entry("unnamed-columns", UNNAMED),
    Entry("numbered-columns", NUMBERED),
    *TENSORS,
    Entry("unsigned", UNSIGNED),
    Entry("params", PARAMS),
    Entry("hinted-things", THINGS),
    Entry("hinted-texts", TEXTS),
    Entry("chat", CHAT),
)
