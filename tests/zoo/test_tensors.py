"""Tensors and tables of real libraries have one form in every answer format. Absent libraries are skipped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pandas as pd
import pytest
from pyarrow import ipc

from workers.codec import formats
from workers.codec.json import answer as json_answer
from workers.codec.request import DecodedRequest
from workers.codec.v2.body import OutputOptions
from workers.protocol.messages import ARROW, OPEN_INFERENCE, Job

if TYPE_CHECKING:
    from collections.abc import Callable

TORCH: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "vector": (lambda torch: torch.tensor([1.5, 2.0]), [1.5, 2.0]),
    "matrix": (lambda torch: torch.ones(1, 2), [[1.0, 1.0]]),
    "scalar": (lambda torch: torch.tensor(1.5), 1.5),
    "integers": (lambda torch: torch.tensor([2**60 + 1]), [2**60 + 1]),
    "booleans": (lambda torch: torch.tensor([True]), [True]),
    "with gradient": (lambda torch: torch.tensor([1.5], requires_grad=True) * 2, [3.0]),
    "parameter": (lambda torch: torch.nn.Parameter(torch.ones(1)), [1.0]),
    "bfloat16": (lambda torch: torch.tensor([1.5], dtype=torch.bfloat16), [1.5]),
    "float8": (lambda torch: torch.tensor([1.5]).to(torch.float8_e4m3fn), [1.5]),
    "half": (lambda torch: torch.tensor([1.5], dtype=torch.half), [1.5]),
    "conjugate": (lambda torch: torch.tensor([1 + 2j]).conj(), [[1.0, -2.0]]),
    "half complex": (lambda torch: torch.tensor([1 + 2j]).to(torch.complex32), [[1.0, 2.0]]),
    "sparse": (lambda torch: torch.eye(2).to_sparse(), [[1.0, 0.0], [0.0, 1.0]]),
    "sparse rows": (lambda torch: torch.eye(2).to_sparse_csr(), [[1.0, 0.0], [0.0, 1.0]]),
    "nested": (lambda torch: torch.nested.nested_tensor([torch.ones(1), torch.ones(2)]), [[1.0], [1.0, 1.0]]),
    "in a dict": (lambda torch: {"a": torch.ones(2)}, {"a": [1.0, 1.0]}),
    "in a list": (lambda torch: [torch.tensor(1.5), torch.tensor(2.5)], [1.5, 2.5]),
    "in a tuple": (lambda torch: (torch.ones(1), torch.zeros(1)), [[1.0], [0.0]]),
    "in a frame": (lambda torch: pd.DataFrame({"a": [torch.ones(2)]}), [{"a": [1.0, 1.0]}]),
    "size": (lambda torch: torch.ones(2, 3).shape, [2, 3]),
}
TENSORFLOW: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "vector": (lambda tf: tf.constant([1.5, 2.0]), [1.5, 2.0]),
    "scalar": (lambda tf: tf.constant(1.5), 1.5),
    "variable": (lambda tf: tf.Variable([1.5]), [1.5]),
    "bfloat16": (lambda tf: tf.constant([1.5], tf.bfloat16), [1.5]),
    "ragged": (lambda tf: tf.ragged.constant([[1], [1, 2]]), [[1], [1, 2]]),
    "sparse": (lambda tf: tf.sparse.from_dense([[0, 1], [2, 0]]), [[0, 1], [2, 0]]),
    "in a list": (lambda tf: [tf.constant(1.5), tf.constant(2.5)], [1.5, 2.5]),
    "in a dict": (lambda tf: {"a": tf.constant([1])}, {"a": [1]}),
}
POLARS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "frame": (lambda pl: pl.DataFrame({"a": [2**60 + 1, None]}), [{"a": 2**60 + 1}, {"a": None}]),
    "series": (lambda pl: pl.Series("s", [1, 2]), [1, 2]),
    "lazy": (lambda pl: pl.DataFrame({"a": ["x"]}).lazy(), [{"a": "x"}]),
}
CASES = [
    pytest.param(library, create, wanted, id=f"{library}-{name}")
    for library, table in {"torch": TORCH, "tensorflow": TENSORFLOW, "polars": POLARS}.items()
    for name, (create, wanted) in table.items()
]


def encode_body(predictions: object, accept: str) -> bytes:
    options = OutputOptions(None, None, binary=False, schema=None)
    request = DecodedRequest(None, output_options=options)
    return formats.encode(predictions, request, Job(b"", accept=accept)).body


@pytest.mark.filterwarnings("ignore")  # that layouts and types are prototypes
@pytest.mark.parametrize(("library", "create", "wanted"), CASES)
def test_json(library: str, create: Callable[[Any], Any], wanted: Any) -> None:
    """A tensor is nested lists or one number, a table records."""
    predictions = create(pytest.importorskip(library))
    assert json_answer.to_json(predictions) == json_answer.to_json(wanted)


@pytest.mark.parametrize("library", ["torch", "tensorflow"])
def test_other_formats(library: str) -> None:
    """A tensor keeps its type where the format has it."""
    module = pytest.importorskip(library)
    create = (TORCH if library == "torch" else TENSORFLOW)["vector"][0]
    output = orjson.loads(encode_body(create(module), OPEN_INFERENCE))["outputs"][0]
    assert (output["datatype"], output["shape"], output["data"]) == ("FP32", [2, 1], [1.5, 2.0])
    table = ipc.open_stream(encode_body(create(module), ARROW)).read_all()
    assert [str(kind) for kind in table.schema.types] == ["float"]
    assert table.to_pydict() == {"0": [1.5, 2.0]}


def test_tables_in_arrow() -> None:
    """A table of polars keeps its types."""
    predictions = POLARS["frame"][0](pytest.importorskip("polars"))
    table = ipc.open_stream(encode_body(predictions, ARROW)).read_all()
    assert [str(kind) for kind in table.schema.types] == ["int64"]
    assert table.to_pylist() == POLARS["frame"][1]


def test_a_tensor_without_data() -> None:
    """The library's own error says so."""
    torch = pytest.importorskip("torch")
    with pytest.raises(Exception, match="no data"):
        json_answer.to_json(torch.ones(2, device="meta"))
