"""A Python function that answers every shape there is, each under a name of its own."""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import pathlib
import sys
import uuid
from dataclasses import dataclass
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pydantic
import scipy.sparse
from mlflow.models import ModelSignature
from mlflow.pyfunc.model import PythonModel

from tests.zoo.making.made import Made, columns

cloudpickle.register_pickle_by_value(sys.modules[__name__])

NOON = datetime.datetime(2024, 1, 2, 12, 30)  # noqa: DTZ001 - a time without zone is the point
ZONED = datetime.datetime(2024, 1, 2, 12, 30, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
NAN = float("nan")
LONG = bytes(range(100))  # longer than a line of base64


class Pet(pydantic.BaseModel):
    """What a model with an API of its own may answer."""

    name: str
    born: datetime.date
    weight: float | None = None


@dataclass
class Place:
    """The same without pydantic."""

    city: str
    code: int


class Size(enum.Enum):
    """One of a few."""

    SMALL = "s"


class Odd:
    """Something without JSON form."""


def answers() -> dict[str, Any]:
    """Every answer by its name; made in the model's process, so that nothing is lost on the way there."""
    frame = pd.DataFrame({"n": [1, 2], "x": [0.5, 1.5], "s": ["a", "b"], "b": [True, False]})
    days = pd.Series(pd.to_datetime(["2024-01-02T12:30:00", "2024-06-01T00:00:00"]))
    return {
        "ndarray rank 0": np.array(1.5),
        "ndarray rank 1": np.array([1.5, 2.5]),
        "ndarray rank 2": np.arange(6).reshape(2, 3),
        "ndarray rank 3": np.arange(8, dtype=np.float32).reshape(2, 2, 2) / 3,
        "ndarray of bool": np.array([True, False]),
        "ndarray of strings": np.array(["a", "ü"]),
        "ndarray of objects": np.array(["a", 1, None, 2.5], dtype=object),
        "ndarray of bytes": np.array([b"ab", b"c"]),
        "ndarray of datetimes": np.array(["2024-01-02T12:30:00", "2024-06-01"], dtype="datetime64[ns]"),
        "ndarray of days": np.array(["2024-01-02", "2024-06-01"], dtype="datetime64[D]"),
        "ndarray of timedeltas": np.array([90, 3600], dtype="timedelta64[s]"),
        "ndarray of complex": np.array([1 + 2j]),
        "ndarray empty": np.empty((0, 3)),
        "ndarray column-major": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "ndarray float16": np.array([0.1, 2.0], dtype=np.float16),
        "ndarray big-endian": np.array([1.5, 2.5], dtype=">f8"),
        "ndarray masked": np.ma.masked_array([1, 2], [False, True]),
        "frame": frame,
        "frame with index": frame.set_axis(["p", "q"], axis=0),
        "frame without names": pd.DataFrame([[1, 2], [3, 4]]),
        "frame of datetimes": pd.DataFrame({"day": days}),
        "frame of zoned datetimes": pd.DataFrame({"day": days.dt.tz_localize("Europe/Berlin")}),
        "frame with NaT": pd.DataFrame({"day": [days[0], pd.NaT]}),
        "frame of timedeltas": pd.DataFrame({"took": pd.to_timedelta([90, 3600], unit="s")}),
        "frame with nulls": pd.DataFrame({"x": [1.5, NAN], "s": ["a", None]}),
        "frame of nullable integers": pd.DataFrame({"n": pd.array([1, pd.NA], dtype="Int64")}),
        "frame of categories": pd.DataFrame({"c": pd.Categorical(["a", "b"])}),
        "frame of lists": pd.DataFrame({"v": [[1, 2], [3]], "o": [{"k": 1}, {"k": 2.5}]}),
        "frame of bytes": pd.DataFrame({"raw": [b"ab", LONG]}),
        "frame empty": pd.DataFrame({"n": [], "x": []}),
        "series": pd.Series([1.5, 2.5], name="score"),
        "series without name": pd.Series([1, 2]),
        "index": pd.Index([1, 2]),
        "list": [1, 2.5, "a", None, True],
        "tuple": (1, 2.5),
        "list of numpy": [np.float32(0.1), np.int64(3), np.bool_(True), np.str_("s")],
        "list of arrays": [np.array([1, 2]), np.array([3.5])],
        "dict": {"a": 1, "b": [1.5]},
        "dict of arrays": {"x": np.array([1.5, 2.5]), "y": {"z": np.array([[1], [2]])}},
        "dict of frames": {"f": frame},
        "dict with number keys": {1: "a", 2.5: "b"},
        "dict with numpy keys": {np.int64(1): "a"},
        "dict with tuple keys": {(1, 2): "a"},
        "string": "plain",
        "number": 7,
        "none": None,
        "bytes": b"ab",
        "bytes longer than a line": LONG,
        "bytearray": bytearray(b"ab"),
        "datetime": NOON,
        "datetime with zone": ZONED,
        "timestamp": pd.Timestamp("2024-01-02T12:30:00.000000001"),
        "date": NOON.date(),
        "time": NOON.time(),
        "datetime of numpy": [np.datetime64("2024-01-02T12:30:00", "ns")],
        "NaT": [pd.NaT],
        "timedelta": datetime.timedelta(minutes=90),
        "decimal": decimal.Decimal("1.10"),
        "decimal in a frame": pd.DataFrame({"d": [decimal.Decimal("2.50")]}),
        "set": {3, 1, 2},
        "NaN": NAN,
        "NaN and infinities": np.array([NAN, np.inf, -np.inf, 1.0]),
        "NaN deep inside": {"a": [{"b": NAN}]},
        "NA": [1, pd.NA],
        "sparse matrix": scipy.sparse.csr_matrix([[0.0, 1.5], [2.5, 0.0]]),
        "sparse frame": pd.DataFrame({"x": pd.arrays.SparseArray([0.0, 1.5])}),
        "pydantic": Pet(name="Rex", born=NOON.date()),
        "list of pydantic": [Pet(name="Rex", born=NOON.date(), weight=NAN)],
        "dataclass": Place("Bern", 3000),
        "large integer": 2**70,
        "integer beyond doubles": 2**53 + 1,
        "lone surrogate": "\ud800",
        "complex": 1 + 2j,
        "object": [Odd()],
        "generator": (number for number in (1, 2)),
        "map": map(float, [1, 2]),
        "zip": zip([1, 2], ["a", "b"], strict=True),
        "dict keys": {"b": 1, "a": 2}.keys(),
        "dict values": {"b": 1, "a": 2}.values(),
        "period": pd.Period("2024-01", "M"),
        "index of periods": pd.period_range("2024-01", periods=2, freq="M"),
        "frame of periods": pd.DataFrame({"p": pd.period_range("2024-01-02 03:00", periods=2, freq="h")}),
        "fraction": fractions.Fraction(1, 4),
        "uuid": uuid.UUID(int=1),
        "path": pathlib.PurePosixPath("a/b"),
        "enum": [Size.SMALL],
        "raises": ValueError("weights are in /secret/place"),
        "raises of MLflow": "mlflow",
    }


class Answers(PythonModel):
    """Answers what the first cell of `which` names."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        answer = answers()[model_input["which"].iloc[0]]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, str) and answer == "mlflow":
            from mlflow.exceptions import MlflowException  # noqa: PLC0415 - as a model's own code does

            raise MlflowException("weights are in /secret/place")
        return answer


MAKERS = {"answers": lambda: Made("pyfunc", Answers(), ModelSignature(columns(which="string")))}
