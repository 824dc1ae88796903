"""Proves how MLmodel files are parsed, including hostile ones."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from gateway.domain import mlmodel
from gateway.domain.mlmodel import InvalidMlmodel, Mlmodel, Signature

FILE = b"""
flavors:
  python_function: {loader_module: mlflow.sklearn, python_version: 3.11.7}
  sklearn: {code: null, sklearn_version: 1.9.1}
mlflow_version: 3.17.2
signature:
  inputs: '[{"type": "double", "name": "a", "required": true}]'
  outputs: '[{"type": "long", "required": true}]'
  params: null
utc_time_created: '2026-11-23 12:21:00.197869'
"""


def test_an_ordinary_file() -> None:
    """Flavors, MLflow's version and the signature's JSON are parsed; `null` params are None."""
    assert mlmodel.parse_mlmodel(FILE) == Mlmodel(
        flavors=("python_function", "sklearn"),
        mlflow_version="3.17.2",
        signature=Signature(
            inputs=[{"type": "double", "name": "a", "required": True}],
            outputs=[{"type": "long", "required": True}],
        ),
        logged_at=datetime(2026, 11, 23, 12, 21, 0, 197869, tzinfo=UTC),
        python_version="3.11.7",
    )


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("{python_model: python_model.pkl}", True),
        ("{python_model: x, model_code_path: agent.py}", False),
        ("{model_path: model.pkl}", False),
        ("[1]", False),
    ],
)
def test_a_pickled_python_class_is_bytecode(function: str, *, expected: bool) -> None:
    """A class that was pickled is bytecode of one Python; a model logged as its source code is not."""
    data = f"flavors: {{python_function: {function}}}".encode()
    assert mlmodel.parse_mlmodel(data).has_bytecode is expected


@pytest.mark.parametrize("value", ["x", "[1]", "9" * 100, "0001-01-01T00:00:00+14:00", "''"])
def test_a_time_that_is_none_is_absent(value: str) -> None:
    """Any user who registers a model writes it, so that it may be anything."""
    assert mlmodel.parse_mlmodel(f"utc_time_created: {value}".encode()).logged_at is None


@pytest.mark.parametrize("value", ["x", "2.7.1", "[3]", "3." + "1" * 50, "'3.1\n0'"])
def test_a_python_version_that_is_none_is_absent(value: str) -> None:
    """Only what looks like a version of Python 3 is kept."""
    data = f"flavors: {{python_function: {{python_version: {value}}}}}".encode()
    assert mlmodel.parse_mlmodel(data).python_version is None


@pytest.mark.parametrize(
    "data", [b"flavors: {}", b"flavors: [1]\nsignature: 3\nmlflow_version: [1]", b"a: 1"]
)
def test_a_missing_or_malformed_part_is_empty(data: bytes) -> None:
    """A file without the known parts, or with parts of other types, is not an error."""
    assert mlmodel.parse_mlmodel(data) == Mlmodel()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"- a",
        b"a: [",
        b"\xff\xfe\x00",
        b"signature: {inputs: 'not json'}",
        b"signature: {inputs: '" + b"[" * 5000 + b"'}",
        b"x" * (mlmodel.MAX_BYTES + 1),
    ],
)
def test_a_file_that_is_not_an_mlmodel_is_rejected(data: bytes) -> None:
    """Only InvalidMlmodel is raised, whatever the content is."""
    with pytest.raises(InvalidMlmodel):
        mlmodel.parse_mlmodel(data)


def test_an_empty_signature() -> None:
    """A signature without inputs and outputs is not None."""
    assert mlmodel.parse_mlmodel(b"signature: {inputs: , outputs: ~}").signature == Signature()


def test_merges_and_tags_have_no_effect() -> None:
    """A Python tag and nested merges are read as text and plain keys."""
    bomb = b"a: &a {k: v}\n" + b"".join(
        b"%c: &%c {<<: [%s]}\n" % (name, name, b", ".join([b"*%c" % (name - 1)] * 9)) for name in b"bcdefghij"
    )
    assert mlmodel.parse_mlmodel(bomb) == Mlmodel()
    assert mlmodel.parse_mlmodel(b"mlflow_version: !!python/object/apply:os.system ['true']") == Mlmodel()


@pytest.mark.parametrize("text", ["[", "- ", "{a: "])
def test_deep_nesting_does_not_crash_the_process(text: str) -> None:
    """Half a million levels are rejected; libyaml's own recursion would crash the process."""
    code = (
        "import sys; from gateway.domain import mlmodel\n"
        "try: mlmodel.parse_mlmodel(sys.argv[1].encode() * (1_000_000 // len(sys.argv[1])))\n"
        "except mlmodel.InvalidMlmodel: print('rejected')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, text], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "rejected\n"), done.stderr[-500:]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('[{"name": "p", "default": NaN}]', [{"name": "p", "default": None}]),
        ("[-Infinity, Infinity, 1.5, 2]", [None, None, 1.5, 2]),
        ("[NaN, 18446744073709551617]", [None, 2.0**64]),
        ("[NaN, %s]" % ("9" * 400), [None, float("inf")]),
    ],
)
def test_numbers_that_are_not_finite(written: str, read: object) -> None:
    """MLflow writes them for such names and defaults; the rest of the signature is read."""
    signature = mlmodel.parse_mlmodel(f"signature: {{params: '{written}'}}".encode()).signature
    assert signature == Signature(params=read)


@pytest.mark.parametrize("written", ["[NaN", '[NaN, "\\ud800"]', "[" * 5000 + "NaN", "[1NaN]"])
def test_what_is_no_json_beside_them(written: str) -> None:
    """It is an invalid file, and nothing that cannot be written as JSON."""
    with pytest.raises(InvalidMlmodel):
        mlmodel.parse_mlmodel(f"signature: {{params: '{written}'}}".encode())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"flavors: [" + b"a," * 30_000 + b"a]", "parts"),
        (b"flavors: {a: [" + b"[]," * 20_000 + b"a]}", "parts"),
        (b"a: &a [x]\nb: [" + b"*a," * 30_000 + b"x]", "parts"),
        (b"\n".join(b"a%d:" % number for number in range(20_000)), "parts"),
        (b"? a\n" * 20_000, "parts"),
        (b"---\n" * 20_000, "parts"),
        (b"".join(b"%%TAG !a%d! x\n" % number for number in range(60_000)) + b"--- a", "tag directives"),
        ("%TAG !a! x\n--- a".encode("utf-16"), "not UTF-8"),
    ],
)
def test_a_file_of_many_parts_is_rejected(data: bytes, reason: str) -> None:
    """libyaml would take microseconds for each part, and for directives seconds within one call."""
    with pytest.raises(InvalidMlmodel, match=reason):
        mlmodel.parse_mlmodel(data[: mlmodel.MAX_BYTES])


def test_a_signature_of_thousands_of_columns_is_parsed() -> None:
    """It is one text in the file, so its size alone matters, and how much memory it takes."""
    columns = [{"type": "double", "name": f"feature_{number}", "required": True} for number in range(14_000)]
    parsed = mlmodel.parse_mlmodel(f"signature: {{inputs: '{json.dumps(columns)}'}}".encode())
    assert parsed.signature == Signature(inputs=columns)
    assert len(json.dumps(columns)) < parsed.size_bytes < mlmodel.MAX_BYTES * 25


def test_a_signature_that_is_larger_than_the_file() -> None:
    """By an alias of YAML one text may be three parts; together they are bounded."""
    text = "[" + "[]," * 180_000 + "[]]"
    with pytest.raises(InvalidMlmodel, match="more than 1048576 characters"):
        mlmodel.parse_mlmodel(f"signature:\n  inputs: &a '{text}'\n  outputs: *a\n".encode())


@pytest.mark.parametrize("start", ["", "NaN, "])
def test_a_signature_that_could_not_be_written_again_is_rejected(start: str) -> None:
    """The parser reads deeper than the gateway's answers can be."""
    for depth, fits in ((200, True), (300, False)):
        inputs = "[" * depth + start + "1" + "]" * depth
        data = f"signature:\n  inputs: '{inputs}'\n".encode()
        if fits:
            assert mlmodel.parse_mlmodel(data).signature is not None
        else:
            with pytest.raises(InvalidMlmodel):
                mlmodel.parse_mlmodel(data)
