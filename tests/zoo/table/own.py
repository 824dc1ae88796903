"""What the forms that MLflow's server does not have cannot say, and where they say something else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.zoo.differences import Source


@dataclass(frozen=True, slots=True)
class Otherwise:
    """Cases that end otherwise than the same data in JSON; `source` is as in a Difference."""

    why: str
    status: int
    source: Source
    cases: tuple[str, ...]


OTHERWISE: tuple[Otherwise, ...] = (
    Otherwise(
        "columns without names are called input-0, input-1, … in Open Inference",
        400,
        "",
        ("unnamed-columns/columns with names/v2_json", "unnamed-columns/columns with names/v2_binary"),
    ),
    Otherwise(
        "columns that are named by numbers are inputs of these names in Open Inference",
        400,
        "",
        ("numbered-columns/rows/v2_json", "numbered-columns/rows/v2_binary"),
    ),
    Otherwise(
        "without signature an Arrow body is a frame, whatever else its columns could be",
        200,
        "like",
        ("unsigned/names/arrow",),
    ),
)

# reason → forms, and the probes that they cannot say for it
CANNOT: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "BYTES have no null in binary": (
        (
            "v2_binary",
            (
                "sk-pipeline/city null",
                "sk-pipeline/rooms null",
                "type-boolean/null",
                "type-integer/null",
                "type-long/null",
                "type-string/null",
                "type-datetime/null",
                "optional-columns/nulls",
                "optional-columns/a null among whole numbers",
                "unsigned/exact beside a null",
            ),
        ),
    ),
    "an Arrow column has a name, and the model's one array has none": (
        (
            "arrow",
            (
                "sk-unsigned/array",
                "sk-tensor/array",
                "sk-tensor/too narrow",
                "torch-layer/array",
                "torch-layer/too narrow",
                "unnamed-columns/rows",
                "unnamed-columns/fraction",
                "numbered-columns/rows",
                "numbered-columns/one column too few",
                "tensor-unnamed/array",
                "tensor-unnamed/whole numbers",
                "tensor-unnamed/too narrow",
                "tensor-unnamed/too flat",
                "tensor-unnamed/ragged",
                "tensor-unnamed/text",
                "tensor-unnamed/digits as text",
                "tensor-unnamed/booleans",
                "tensor-unnamed/null",
                "tensor-unnamed/empty",
                "tensor-bytes/array",
                "tensor-bytes/beyond",
                "tensor-bytes/negative",
                "tensor-bytes/fraction",
                "tensor-text/array",
                "tensor-text/numbers",
                "tensor-flags/array",
                "tensor-flags/numbers",
                "tensor-flags/text",
                "unsigned/array",
                "unsigned/scalar",
                "unsigned/texts",
                "unsigned/ragged",
            ),
        ),
    ),
    "pyarrow finds no one type for the cells": (
        (
            "arrow",
            (
                "type-long/beyond",
                "type-long/exact beside a decimal",
                "type-double/large whole number",
                "type-string/mixed",
                "type-any/mixed",
            ),
        ),
    ),
    "the cells stand for no bytes": (("arrow v2_json v2_binary", ("type-binary/no base64",)),),
    "the probe is about dataframe_records and instances and inputs alone": (
        (
            "arrow v2_json v2_binary",
            tuple(f"type-{kind}/NaN" for kind in ("boolean", "long", "string", "binary", "datetime")),
        ),
    ),
    "the probe is about the keys of a JSON body": (
        ("arrow v2_json v2_binary", ("params/key unknown", "params/keys for other servers")),
    ),
    "the probe is about instances alone": (
        ("arrow v2_json v2_binary", ("type-array/fits instances", "unsigned/null in records")),
    ),
    "the probe is about inputs alone": (
        ("arrow v2_json v2_binary", ("type-array/fits inputs", "type-object/fits inputs")),
    ),
    "an Arrow struct has every field in every row": (("arrow", ("type-object/fits", "type-nested/fits")),),
    "a tensor's rows are all of one length": (
        ("v2_json v2_binary", ("tensor-unnamed/ragged", "unsigned/ragged")),
    ),
    "Arrow has no place for params": (
        (
            "arrow",
            (
                "params/all",
                "params/whole number for a double",
                "params/fraction for a long",
                "params/text for a boolean",
                "params/number for a text",
                "params/unknown",
                "params/null",
                "chat/messages and params",
            ),
        ),
    ),
    "Arrow is tables, which models of type hints do not take": (
        (
            "arrow",
            (
                "hinted-things/fits",
                "hinted-things/lacking",
                "hinted-things/text for a number",
                "hinted-things/unknown field",
                "hinted-things/no list",
                "hinted-texts/fits",
                "hinted-texts/number",
                "hinted-texts/no list",
            ),
        ),
    ),
    "a tensor is a list, and the probe is none": (
        ("v2_json v2_binary", ("hinted-things/no list", "hinted-texts/no list")),
    ),
}
