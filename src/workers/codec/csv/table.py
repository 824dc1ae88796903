"""CSV as columns of text: the cells, without their types."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable
from typing import Final

import pyarrow as pa
from pyarrow import csv as arrow_csv

from workers.codec.counting import count_bytes
from workers.codec.input_errors import MAX_PROBLEMS, invalid_input
from workers.errors import InvalidInput
from workers.protocol.messages import InputProblem

_MAX_COLUMNS: Final = 100_000
_MIN_ROW_LIMIT: Final = 4 * 2**20  # rows that a body may have in any case
_BYTES_PER_ROW: Final = 4
_QUOTE: Final = b'"'
_AROUND_QUOTED: Final = b',\r\n"'
_QUOTED: Final = re.compile(rb'"[^"]*"')


def _compile_whole_quoted_cells() -> re.Pattern[bytes] | None:
    """Return text in which a comma, a line end or a quote stands on both sides of what is quoted.

    The possessive repetitions keep no memory of where they were, unlike a list of the quoted cells. Python
    3.10, which an environment may have, does not know them.
    """
    try:
        return re.compile(rb'(?:[^"]*+(?<![^,\r\n"])"[^"]*+"(?![^,\r\n"]))*+[^"]*+')
    except re.error:
        return None


_WHOLE_QUOTED_CELLS: Final = _compile_whole_quoted_cells()


def parse_table(body: bytes) -> pa.Table:
    """Return the columns, named by the header line, with each cell as text; an empty cell is null.

    A quoted empty cell is an empty text. Raises InvalidInput if the cells are ambiguous, and if a line has
    more or fewer of them than the header.
    """
    text = body.removeprefix(codecs.BOM_UTF8).lstrip(b"\r\n")
    if not text:
        raise InvalidInput("The body is empty; CSV begins with a header line.")
    _check_num_lines(text)
    _check_utf8(text)
    _check_quotes(text)
    names = _read_header(text)
    uneven: list[InputProblem] = []
    try:
        lines = text if text.endswith((b"\n", b"\r")) else text + b"\n"
        table = _read_columns(lines, names, on_invalid_row=_collect_invalid_rows(uneven))
    except (pa.ArrowException, ValueError) as error:
        if not uneven:
            raise InvalidInput("The body is not CSV in UTF-8, separated by commas.") from error
    if uneven:
        raise invalid_input(uneven, what="The lines are not all as long as the header line")
    if table.column_names != names:
        raise InvalidInput("The header line is ambiguous; quote its names.")
    return table


def _check_num_lines(text: bytes) -> None:
    """Raise InvalidInput for too many lines: one byte, an empty line, is a row that takes seventy."""
    if len(text) <= _MIN_ROW_LIMIT:
        return
    limit = max(_MIN_ROW_LIMIT, len(text) // _BYTES_PER_ROW)
    actual = max(count_bytes(text, b"\n"), count_bytes(text, b"\r"))
    if actual > limit:
        raise InvalidInput(
            f"The body has {actual} lines; one of its size may have at most {limit}."
            " Send fewer rows at a time."
        )


def _read_columns(
    lines: bytes, names: list[str], *, on_invalid_row: Callable[[arrow_csv.InvalidRow], str]
) -> pa.Table:
    return arrow_csv.read_csv(
        pa.BufferReader(lines),
        read_options=arrow_csv.ReadOptions(use_threads=False, block_size=len(lines) + 1),
        parse_options=arrow_csv.ParseOptions(
            newlines_in_values=True, ignore_empty_lines=len(names) > 1, invalid_row_handler=on_invalid_row
        ),
        convert_options=arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _collect_invalid_rows(uneven: list[InputProblem]) -> Callable[[arrow_csv.InvalidRow], str]:
    """Return a handler that adds uneven lines to `uneven`, without their text. Line 1 is the header."""

    def collect(row: arrow_csv.InvalidRow) -> str:
        reason = f"has {row.actual_columns} values, expected {row.expected_columns}"
        uneven.append(InputProblem(None if row.number is None else row.number - 2, None, reason))
        return "skip" if len(uneven) <= MAX_PROBLEMS else "error"

    return collect


def _check_utf8(text: bytes) -> None:
    """Raise InvalidInput if the text is not UTF-8: pyarrow gives the handler of uneven lines no reason."""
    if text.isascii():
        return
    try:
        pa.array([text], pa.large_binary()).cast(pa.large_string())
    except pa.ArrowInvalid as error:
        raise InvalidInput("The body is not CSV in UTF-8.") from error


def _check_quotes(text: bytes) -> None:
    """Raise InvalidInput for a quote within a cell: parsers disagree on what it means."""
    if _QUOTE not in text:
        return
    if text.count(_QUOTE) % 2:
        raise InvalidInput("A quoted cell of the body does not end.")
    if not _are_quoted_cells_whole(text):
        raise InvalidInput(
            "A cell of the body has a quote within: quote the whole cell, and write the quote twice."
        )


def _are_quoted_cells_whole(text: bytes) -> bool:
    """Return whether what each pair of quotes is around is a whole cell, or a part of one that is quoted."""
    if _WHOLE_QUOTED_CELLS is not None:
        return _WHOLE_QUOTED_CELLS.fullmatch(text) is not None
    return _is_each_pair_between_cells(text)


def _is_each_pair_between_cells(text: bytes) -> bool:
    """Return the same without possessive repetitions, and slower."""
    return all(
        text[max(0, pair.start() - 1) : pair.start()] in _AROUND_QUOTED
        and text[pair.end() : pair.end() + 1] in _AROUND_QUOTED
        for pair in _QUOTED.finditer(text)
    )


def _read_header(text: bytes) -> list[str]:
    lines = csv.reader(io.TextIOWrapper(io.BytesIO(text), encoding="utf-8", newline=""), strict=True)
    try:
        names = next(lines, [])
    except (csv.Error, UnicodeDecodeError) as error:
        raise InvalidInput("The header line is not CSV in UTF-8.") from error
    if len(names) > _MAX_COLUMNS:
        raise InvalidInput(f"The header line names more than {_MAX_COLUMNS} columns.")
    if len(set(names)) != len(names):
        raise InvalidInput("The header line names one column twice.")
    return names
