"""Registers the models that the clients ask; run as a script.

v2-table    columns of many types; answers its table
v2-pairs    a nameless tensor of pairs of float32; answers it
v2-named    two named tensors; answers them by name
v2-params   one column; answers its params
"""

from __future__ import annotations

import numpy as np
from mlflow.models import ModelSignature
from mlflow.types.schema import AnyType, ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

from tests.support import models
from tests.support.register_models import register

TABLE = Schema(
    [
        ColSpec(DataType.boolean, "open"),
        ColSpec(DataType.integer, "small"),
        ColSpec(DataType.long, "count"),
        ColSpec(DataType.float, "thin"),
        ColSpec(DataType.double, "size"),
        ColSpec(DataType.string, "label"),
        ColSpec(DataType.binary, "raw", required=False),
        ColSpec(DataType.datetime, "since", required=False),
        ColSpec(AnyType(), "cell", required=False),
    ]
)
PAIRS = Schema([TensorSpec(np.dtype("float32"), (-1, 2))])
NAMED = Schema([TensorSpec(np.dtype("int64"), (-1, 1), "ids"), TensorSpec(np.dtype("str"), (-1,), "words")])
PARAMS = ParamSchema([ParamSpec("temperature", DataType.double, 0.5), ParamSpec("limit", DataType.long, 3)])


def main() -> None:
    """Register everything."""
    register("v2-table", models.Echo(), signature=ModelSignature(inputs=TABLE, outputs=TABLE))
    register("v2-pairs", models.Echo(), signature=ModelSignature(inputs=PAIRS, outputs=PAIRS))
    register("v2-named", models.Echo(), signature=ModelSignature(inputs=NAMED, outputs=NAMED))
    one = Schema([ColSpec(DataType.double, "x")])
    register("v2-params", models.Params(), signature=ModelSignature(inputs=one, params=PARAMS))


if __name__ == "__main__":
    main()
