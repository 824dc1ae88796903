"""What both answer, the model having got another input."""

from __future__ import annotations

from typing import Any

from tests.zoo.differences import Difference

FRAMES = "dataframe_split dataframe_records"
ARRAYS = "instances inputs"


def _given(
    title: str, *, there: str, here: str, why: str, cases: tuple[str, ...], source: Any = "like"
) -> Difference:
    """What both answer, the model having got another input."""
    return Difference(
        title, there, here, why, server=200, gateway=200, model="answers", source=source, cases=cases
    )


GIVEN = (
    _given(
        "Whole numbers beside decimals or nulls",
        there="makes doubles of them on the way: 9007199254740993 becomes …992",
        here="kept exact",
        why="64 bit identifiers must stay what they are",
        cases=(f"type-long/exact beside a decimal: {FRAMES} csv",),
    ),
    _given(
        "Whole numbers beside nulls, without signature",
        there="makes doubles of them, which rounds large ones",
        here="where one would be rounded, the column holds Python's integers and None",
        why="64 bit identifiers must stay what they are",
        source="expect",
        cases=("unsigned/exact beside a null",),
    ),
    _given(
        "null for a text in `instances` and `inputs`",
        there='gives the model the text "None"',
        here="gives it a missing value, as in `dataframe_*`",
        why='a city "None" is not an unknown city',
        cases=(f"type-string/null: {ARRAYS}", f"optional-columns/nulls: {ARRAYS}"),
    ),
    _given(
        "Binary data in `instances`, `inputs` and CSV",
        there="leaves the base64 text as it is, as bytes or as text",
        here="decoded, as in `dataframe_*`",
        why="the model was trained on the bytes",
        cases=(f"type-binary/fits: {ARRAYS} csv",),
    ),
    _given(
        "One frame whatever the form",
        there="gives the model a list as an ndarray in `inputs`, and text columns of another dtype in CSV",
        here="what `dataframe_split` gives",
        why="a model's answer must not depend on the form",
        cases=(
            "type-array/fits inputs",
            "type-string/digits: csv",
            "optional-columns/required alone: csv",
            "optional-columns/some: csv",
        ),
    ),
    _given(
        "null in records without signature",
        there="makes an array of one number of each cell",
        here="the cells' own values",
        why="no library computes with arrays of arrays",
        source="expect",
        cases=("unsigned/null in records",),
    ),
    _given(
        "Texts that look like nothing, in CSV",
        there='"NA", "null", "nan" and an empty text in quotes become missing values',
        here="they are texts; only an empty cell without quotes is missing",
        why="Namibia's code is NA",
        cases=("type-string/fits: csv", "type-string/names of nothing: csv"),
    ),
    _given(
        "Empty lines in CSV of one column",
        there="drops them, so that there are fewer answers than rows",
        here="a row with a missing value",
        why="the n-th answer belongs to the n-th row",
        cases=(
            "type-string/null: csv",
            "type-float/fits: csv",
            "type-double/fits: csv",
            "unsigned/null in a table: csv",
        ),
    ),
)
