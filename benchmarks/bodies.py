"""The same rows as the peers want them: `dataframe_split` for MLflow's protocol, tensors for V2."""

from __future__ import annotations

import math
import urllib.error
import urllib.request
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, Literal

import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence

Form = Literal["mlflow", "v2"]
NEAR = 1e-9
SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Body:
    """Return `rows` rows, in both forms."""

    rows: int
    forms: dict[Form, bytes]

    @classmethod
    def of(cls, columns: Sequence[str], data: Sequence[Sequence[float]], *, rows: int) -> Body:
        """`rows` rows, those of `data` again and again."""
        chosen = list(islice(cycle(data), rows))
        split = {"columns": list(columns), "data": chosen}
        tensors = [
            {"name": name, "shape": [rows, 1], "datatype": "FP64", "data": list(cells)}
            for name, cells in zip(columns, zip(*chosen, strict=True), strict=True)
        ]
        return cls(
            rows,
            {"mlflow": orjson.dumps({"dataframe_split": split}), "v2": orjson.dumps({"inputs": tensors})},
        )


def post(url: str, body: bytes) -> bytes:
    """The answer to one request. Raises RuntimeError where it is not a 2xx."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - loopback
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as reply:  # noqa: S310 - loopback
            return bytes(reply.read())
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{url} answered {error.code}: {error.read()[:500]!r}") from error


def predictions(url: str, body: Body, form: Form) -> list[float]:
    """The predictions of one request."""
    answer: dict[str, Any] = orjson.loads(post(url, body.forms[form]))
    found: list[float] = answer["predictions"] if form == "mlflow" else answer["outputs"][0]["data"]
    return found


def same(some: Sequence[float], others: Sequence[float]) -> bool:
    """Whether two answers are one, but for what floating point may lose."""
    return len(some) == len(others) and all(
        math.isclose(one, other, rel_tol=NEAR) for one, other in zip(some, others, strict=True)
    )
