"""The forms of a body. A form more is a row more in `FORMS`."""

from __future__ import annotations

import datetime
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.zoo.samples import Document, Plain, Probe, Sample, Table, Tensor, Tensors

if TYPE_CHECKING:
    from collections.abc import Callable

JSON = "application/json"
_Absent = object
ABSENT = _Absent()
JSON_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes of one request."""

    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Form:
    """How a sample is written; `write` gives ABSENT where the sample has no such form."""

    media_type: str
    write: Callable[[Sample], Any]


def body(probe: Probe, form: str) -> Body | None:
    """The probe in this form; None where it has none."""
    written = FORMS[form].write(probe.sample)
    if written is ABSENT or (probe.forms and form not in probe.forms):
        return None
    media_type = FORMS[form].media_type
    if media_type != JSON:
        return None if probe.params else Body(media_type, written)
    document = written if form == "document" else {form: written}
    if probe.params:
        document = {**document, "params": dict(probe.params)}
    return Body(JSON, json.dumps(document).encode())


def _split(sample: Sample) -> Any:
    if not isinstance(sample, Table):
        return ABSENT
    return {"columns": list(sample.columns), "data": sample.rows()}


def _records(sample: Sample) -> Any:
    return sample.records() if isinstance(sample, Table) else ABSENT


def _instances(sample: Sample) -> Any:
    if isinstance(sample, Tensors):
        return Table(sample.values).records() if len(set(map(len, sample.values.values()))) == 1 else ABSENT
    return sample.values if isinstance(sample, Tensor) else _records(sample)


def _inputs(sample: Sample) -> Any:
    if isinstance(sample, Table):
        return {name: list(cells) for name, cells in sample.columns.items()}
    if isinstance(sample, Plain):
        return sample.value
    return dict(sample.values) if isinstance(sample, Tensors) else getattr(sample, "values", ABSENT)


def _document(sample: Sample) -> Any:
    return sample.body if isinstance(sample, Document) else ABSENT


def _csv(sample: Sample) -> Any:
    if not isinstance(sample, Table) or not sample.flat():
        return ABSENT
    lines = [
        list(map(json.dumps, sample.columns)),
        *([_csv_cell(cell) for cell in row] for row in sample.rows()),
    ]
    return "".join(",".join(line) + "\r\n" for line in lines).encode()


def _csv_cell(cell: Any) -> str:
    """Nothing for a null; quotes around an empty text, which is no null."""
    if cell is None:
        return ""
    text = str(cell)
    return f'"{text}"' if not text or "," in text else text


def _parquet(sample: Sample) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - not for those who only collect the tests
    from pyarrow import parquet  # noqa: PLC0415 - as above

    if not isinstance(sample, Table):
        return ABSENT
    columns = {str(name): list(cells) for name, cells in sample.columns.items()}
    columns |= {name: times(columns[name]) for name in sample.times}
    try:
        table = pa.table(columns)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return ABSENT  # cells of several types in one column
    file = io.BytesIO()
    parquet.write_table(table, file)
    return file.getvalue()


def times(cells: list[Any]) -> list[Any]:
    """The times that the texts say; the cells as they are where one of them says none."""
    try:
        return [None if cell is None else datetime.datetime.fromisoformat(cell) for cell in cells]
    except (TypeError, ValueError):
        return cells


FORMS: dict[str, Form] = {
    "dataframe_split": Form(JSON, _split),
    "dataframe_records": Form(JSON, _records),
    "instances": Form(JSON, _instances),
    "inputs": Form(JSON, _inputs),
    "document": Form(JSON, _document),
    "csv": Form("text/csv", _csv),
    "parquet": Form("application/vnd.apache.parquet", _parquet),
}
