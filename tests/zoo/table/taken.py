"""What MLflow refuses though it loses nothing, and the gateway takes."""

from __future__ import annotations

from typing import Any

from tests.zoo.differences import Difference

FRAMES = "dataframe_split dataframe_records"
ARRAYS = "instances inputs"


def _taken(
    title: str, *, there: str, here: str, why: str, cases: tuple[str, ...], source: Any = "like"
) -> Difference:
    """What MLflow refuses though it loses nothing."""
    return Difference(
        title, there, here, why, server=400, gateway=200, model="refuses", source=source, cases=cases
    )


TAKEN = (
    _taken(
        "Times with a zone, and in several forms",
        there="refuses `Z` and offsets in `dataframe_*`, and a column whose times are not all written alike",
        here="taken; what has a zone becomes UTC",
        why="every ISO 8601 time is clear; `instances` and `inputs` take them in MLflow too",
        cases=(
            f"sk-pipeline/days in UTC: {FRAMES} parquet",
            f"sk-pipeline/days with offsets: {FRAMES} parquet",
            f"sk-pipeline/days in two forms: {FRAMES}",
            f"type-datetime/fractions: {FRAMES}",
            f"type-datetime/in UTC: {FRAMES} parquet",
            f"type-datetime/with offset: {FRAMES} parquet",
            f"type-datetime/two forms: {FRAMES}",
        ),
    ),
    _taken(
        "Times in lower case",
        there="refuses `2024-01-02t12:30:00z` in `instances`, `inputs` and params",
        here="taken in every format",
        why="RFC 3339 allows it",
        cases=(f"type-datetime/lower case: {ARRAYS}",),
    ),
    _taken(
        "Columns named by numbers, by their text",
        there="finds the columns 0, 1, … of a frame without names by number only",
        here="taken by number or text; the model gets the numbers",
        why="JSON's keys and CSV's header are text",
        cases=("numbered-columns/by text",),
    ),
    _taken(
        "Times in CSV",
        there="refuses every CSV body of a model with a datetime column, with a stack trace",
        here="taken",
        why="the signature says what the text is",
        cases=(
            "sk-pipeline/rows: csv",
            "sk-pipeline/city never seen: csv",
            "sk-pipeline/city null: csv",
            "sk-pipeline/days alone: csv",
            "sk-pipeline/days in UTC: csv",
            "sk-pipeline/days with offsets: csv",
            "sk-pipeline/days in two forms: csv",
            "type-datetime/fits: csv",
            "type-datetime/fractions: csv",
            "type-datetime/dates: csv",
            "type-datetime/in UTC: csv",
            "type-datetime/with offset: csv",
            "type-datetime/two forms: csv",
            "type-datetime/lower case: csv",
            "type-datetime/null: csv",
            "optional-columns/all: csv",
            "optional-columns/nulls: csv",
        ),
    ),
    _taken(
        "Numbers of another width in Parquet",
        there="refuses integers for a double, 64 bits for 32, and doubles for a float",
        here="taken where no value is changed; doubles for a float are rounded to the nearest",
        why="the same values are taken in JSON",
        cases=(
            "sk-linear/whole numbers: parquet",
            "xgb-regressor/whole numbers: parquet",
            "lgb-booster/rows: parquet",
            "lgb-booster/null: parquet",
            "type-integer/fits: parquet",
            "type-integer/decimals that are whole: parquet",
            "type-long/decimals that are whole: parquet",
            "type-float/fits: parquet",
            "type-float/NaN and infinities: parquet",
            "type-float/whole numbers: parquet",
            "type-double/whole numbers: parquet",
        ),
    ),
    _taken(
        "Columns of lists or objects in `instances`",
        there="turns rows into columns first and then finds that they do not fit",
        here="taken as in `dataframe_records`",
        why="it is the same table",
        cases=("type-array/fits instances", "type-object/fits: instances"),
    ),
    _taken(
        "Optional columns of nulls",
        there="refuses nulls for an optional boolean or whole number",
        here="a column of nothing but nulls counts as left out; a null among values is refused",
        why="clients that write every column write null for those they have not",
        cases=("optional-columns/nulls of whole numbers",),
    ),
    _taken(
        "Rows of mixed numbers without names",
        there="makes one array of them first, in which a whole number beside a decimal is a decimal",
        here="each column is read by its own type",
        why="2 is a long whatever stands beside it",
        cases=(f"unnamed-columns/rows: {ARRAYS}",),
    ),
)
