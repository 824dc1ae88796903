"""What MLflow changes silently and answers, and the gateway refuses."""

from __future__ import annotations

from tests.zoo.differences import Difference

JSON = "dataframe_split dataframe_records instances inputs"
FRAMES = "dataframe_split dataframe_records"
ARRAYS = "instances inputs"


def _refused(
    title: str, *, there: str, here: str, why: str, reason: str, cases: tuple[str, ...]
) -> Difference:
    """What MLflow changes silently and answers."""
    return Difference(
        title,
        there,
        here,
        why,
        server=200,
        gateway=400,
        model="answers",
        source="",
        reason=reason,
        cases=cases,
    )


REFUSED = (
    _refused(
        "Fractions in whole numbers",
        there="cuts the fraction off: 2.7 becomes 2",
        here="400 naming column and row",
        why="the model would answer for another input than was sent",
        reason="has a fraction",
        cases=(
            f"sk-pipeline/rooms with fraction: {JSON}",
            f"sk-forest/fraction: {JSON}",
            f"type-integer/fraction: {JSON}",
            f"type-long/fraction: {JSON}",
            "tensor-named/fraction",
            "tensor-bytes/fraction",
        ),
    ),
    _refused(
        "Numbers beyond their type",
        there="wraps integers around (3 000 000 000 becomes -1 294 967 296), makes large floats infinite",
        here="400 naming column and row",
        why="the model would answer for another number than was sent",
        reason="beyond the range",
        cases=(
            f"type-integer/beyond: {FRAMES}",
            f"type-long/beyond: {FRAMES}",
            f"type-float/beyond: {JSON} csv",
        ),
    ),
    _refused(
        "Whole numbers that a double cannot hold",
        there="rounds them silently",
        here="400; written as a decimal the number is rounded as any parser does",
        why="an identifier in a double column would become another one",
        reason="cannot hold exactly",
        cases=(f"type-double/large whole number: {JSON} csv",),
    ),
    _refused(
        "Texts for numbers",
        there='reads "1.5" as 1.5',
        here="400",
        why="JSON has numbers; a text in their place is most often a mistake. CSV, all text, is read",
        reason="not a number",
        cases=(
            f"sk-linear/digits as text: {JSON}",
            f"type-integer/digits as text: {JSON}",
            f"type-long/digits as text: {JSON}",
            f"type-float/digits as text: {JSON}",
            f"type-double/digits as text: {JSON}",
            "tensor-unnamed/digits as text",
        ),
    ),
    _refused(
        "Booleans for numbers",
        there="true becomes 1",
        here="400",
        why="a flag in a column of amounts is most often a mistake",
        reason="not a number",
        cases=(
            f"sk-linear/booleans: {JSON} csv",
            f"type-integer/booleans: {JSON} csv",
            f"type-long/booleans: {JSON} csv",
            f"type-double/booleans: {JSON} csv",
            "tensor-unnamed/booleans",
        ),
    ),
    _refused(
        "Anything for a boolean",
        there='takes whatever Python holds true: "false" becomes true, null false, 2 true',
        here="400",
        why='"false" as true is the opposite of what was sent',
        reason="boolean",
        cases=(
            f"type-boolean/text: {JSON}",
            f"type-boolean/numbers: {JSON} csv",
            f"type-boolean/null: {JSON} parquet",
            "tensor-flags/numbers",
            "tensor-flags/text",
        ),
    ),
    _refused(
        "Numbers for texts",
        there="hands the number to the model in a text column, or writes it as text in an array",
        here="400",
        why='a category 5 is not the category "5" that the model was trained with',
        reason="not a string",
        cases=(
            "sk-pipeline/city as number",
            "type-string/numbers",
            "type-string/mixed",
            "tensor-text/numbers",
        ),
    ),
    _refused(
        "Numbers for times",
        there="reads 1704164645 as nanoseconds since 1970: a second and a half after midnight",
        here="400",
        why="the unit is a guess, and for seconds a wrong one",
        reason="not an ISO 8601 date",
        cases=(f"sk-pipeline/days as numbers: {JSON}", f"type-datetime/numbers: {JSON}"),
    ),
    _refused(
        "Times that are not whole, or not in ISO 8601",
        there="reads `2024` and `2024-01` as their first day, `01/02/2024` as January 2nd, and an empty "
        "text as missing",
        here="400",
        why="the day is a guess; null says that a time is missing",
        reason="not an ISO 8601 date",
        cases=(
            f"type-datetime/year: {JSON}",
            f"type-datetime/month: {JSON}",
            f"type-datetime/slashes: {FRAMES}",
            f"type-datetime/empty text: {JSON}",
        ),
    ),
    _refused(
        "NaN and infinities where no float is",
        there="makes true of them, texts or numbers in a text column, bytes, or missing times",
        here="400 naming column and row; columns and arrays of floats take them",
        why="they are numbers; null says that a value is missing",
        reason="not a",
        cases=(
            f"type-boolean/NaN: dataframe_records {ARRAYS}",
            f"type-string/NaN: dataframe_records {ARRAYS}",
            f"type-binary/NaN: {ARRAYS}",
            "type-datetime/NaN: dataframe_records",
        ),
    ),
    _refused(
        "Binary data that is none",
        there="gives the model the text's own characters, or the number's, as bytes or as text",
        here="400",
        why="the model would get other bytes than were meant",
        reason="value",
        cases=(
            f"type-binary/no base64: {ARRAYS} csv parquet",
            f"type-binary/numbers: {ARRAYS} csv",
            "type-binary/fits: parquet",
        ),
    ),
    _refused(
        "Empty lines in CSV of one column that cannot be null",
        there="drops them, so that there are fewer answers than rows",
        here="400: the row has no value",
        why="the n-th answer belongs to the n-th row",
        reason="null, which",
        cases=("type-boolean/null: csv", "type-integer/null: csv", "type-long/null: csv"),
    ),
    _refused(
        "Unknown columns, names, parameters and keys",
        there="drops them",
        here="400 naming them; only `client_request_id`, `databricks_options`, `model` and `signature_name` "
        "are ignored",
        why="a misspelt optional column or parameter would silently not count",
        reason="",
        cases=(
            "sk-linear/column unknown",
            "unnamed-columns/one column too many",
            "tensor-named/name unknown",
            "params/unknown",
            "params/key unknown",
        ),
    ),
    _refused(
        "Null for whole-number and boolean parameters",
        there="gives the model None",
        here="400",
        why="the type cannot hold it, as in a column; only a default of None allows it",
        reason="null, which",
        cases=("params/null",),
    ),
)
