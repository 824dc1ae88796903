"""What the soak's clients send, and whether an answer is the right one."""

from __future__ import annotations

import gzip
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

    from tests.soak.artifacts import Artifact, Row

Form = Literal["split", "records", "inputs", "csv", "v2", "gzip"]
FORMS: Final[tuple[Form, ...]] = ("split", "split", "records", "inputs", "csv", "v2", "gzip")
_JSON: Final = {"Content-Type": "application/json"}
_MOST_ROWS: Final = 50


@dataclass(frozen=True, slots=True)
class Question:
    """A request, the model and reference it is about, and what the model is to make of it.

    `rows` are a plane's, `words` are the commands that another model does; the last of them tells what it
    says.
    """

    name: str
    ref: str
    form: Form = "split"
    rows: Sequence[Row] = ()
    words: Sequence[str] = ()
    expected: frozenset[int] = field(default=frozenset({200}))

    @property
    def path(self) -> str:
        """Where it is sent."""
        if self.form == "v2":
            return f"/v2/models/{self.name}/versions/{self.ref}/infer"
        if self.ref in {"latest", "best"}:
            return f"/model/{self.name}/invocation/{self.ref}"
        return f"/model/{self.name}/{self.ref}/invocation"

    def message(self) -> tuple[bytes, Mapping[str, str]]:
        """Its body and headers."""
        columns = {"do": list(self.words)} if self.words else _columns(self.rows)
        match self.form:
            case "csv":
                lines = "".join(f"{a!r},{b!r}\n" for a, b in self.rows)
                return f"a,b\n{lines}".encode(), {"Content-Type": "text/csv"}
            case "gzip":
                return gzip.compress(_split(columns)), {**_JSON, "Content-Encoding": "gzip"}
            case "v2":
                return _tensors(columns), _JSON
            case "records":
                rows = [
                    dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)
                ]
                return json.dumps({"dataframe_records": rows}).encode(), _JSON
            case "inputs":
                return json.dumps({"inputs": columns}).encode(), _JSON
            case _:
                return _split(columns), _JSON

    def said(self, document: Any) -> tuple[str, str, list[Any]]:
        """The model's name, its version, and the predictions, as the answer has them."""
        if self.form == "v2":
            return document["model_name"], document["model_version"], document["outputs"][0]["data"]
        return document["model"]["name"], document["model"]["version"], document["predictions"]

    def right(self, predictions: list[Any], artifact: Artifact) -> bool:
        """Whether this artifact answers so."""
        if self.words:
            word = self.words[-1].removeprefix("say ")
            return predictions == [word] if word != self.words[-1] else isinstance(predictions[0], int)
        wanted = artifact.answers(self.rows)
        pairs = zip(predictions, wanted, strict=False)
        return len(predictions) == len(wanted) and all(
            math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-7) for x, y in pairs
        )


def question(name: str, ref: str, *, kind: str, rng: Random) -> Question:
    """Any question that a model of this kind has an answer to."""
    if kind == "commands":
        word = f"say word-{rng.getrandbits(40):x}"
        pause = f"sleep {rng.uniform(0, 0.01):.4f}"
        return Question(name, ref, rng.choice(("split", "records")), words=(pause, word))
    rows = [(rng.uniform(-100, 100), rng.uniform(-100, 100)) for _ in range(rng.randint(1, _MOST_ROWS))]
    return Question(name, ref, rng.choice(FORMS), rows=rows)


def _columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    return {"a": [a for a, _ in rows], "b": [b for _, b in rows]}


def _split(columns: Mapping[str, list[Any]]) -> bytes:
    data = [list(cells) for cells in zip(*columns.values(), strict=True)]
    return json.dumps({"dataframe_split": {"columns": list(columns), "data": data}}).encode()


def _tensors(columns: Mapping[str, list[Any]]) -> bytes:
    inputs = [
        {"name": name, "shape": [len(cells)], "datatype": "FP64", "data": cells}
        for name, cells in columns.items()
    ]
    return json.dumps({"inputs": inputs}).encode()
