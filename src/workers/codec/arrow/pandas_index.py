"""The row index of a pandas frame, which pandas stores as columns that the schema's metadata lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
import pandas as pd
import pyarrow as pa

from workers.codec.arrow.columns import ArrowColumn
from workers.codec.signature import InputSpec

_KEY: Final = b"pandas"
_MAX_METADATA_BYTES: Final = 16 * 2**20
_DEFAULT: Final = b'{"index_columns": [{"kind": "range", "name": null, "start": 0, "stop": %d, "step": 1}]'
_GENERATED_PREFIX: Final = "__index_level_"


def split_index(table: pa.Table, spec: InputSpec) -> tuple[pa.Table, pd.Index[Any] | None]:
    """Return the table without the columns of a stored index, and the index as `pd.read_parquet` makes it.

    A column that the signature names stays a column. The index is None, and the table as it is, if none is
    stored, if it is the default one, or if the metadata is damaged.
    """
    metadata = (table.schema.metadata or {}).get(_KEY)
    if metadata is None or metadata.startswith(_DEFAULT % table.num_rows):
        return table, None
    try:
        names, index = _read_index(table, metadata, _names_to_keep(table, spec))
    except Exception:  # noqa: BLE001 - a client chose the metadata, and pandas raises many types for it
        return table, None
    return table.drop_columns(names), index


def _names_to_keep(table: pa.Table, spec: InputSpec) -> frozenset[str]:
    """Return the columns that are the signature's: by name, or all if it has no names and as many columns."""
    if spec.schema is None:
        return frozenset()
    if spec.columns is not None and not spec.has_column_names:
        return frozenset(table.column_names if table.num_columns == len(spec.columns) else ())
    return frozenset(name for name in spec.schema.input_names() if isinstance(name, str))


def _read_index(
    table: pa.Table, metadata: bytes, kept: frozenset[str]
) -> tuple[list[str], pd.Index[Any] | None]:
    """Return the names of the index' columns, and the index. Damaged metadata raises any exception."""
    if len(metadata) > _MAX_METADATA_BYTES:
        raise ValueError("too large")
    document = orjson.loads(metadata)
    stored = document["index_columns"]
    if len(stored) == 1 and isinstance(stored[0], dict):
        return [], _read_range(stored[0], table.num_rows)
    given = set(table.column_names)
    names = [name for name in dict.fromkeys(stored) if name in given and name not in kept]
    return names, _make_index(table, names, document["columns"]) if names else None


def _read_range(descriptor: Mapping[str, Any], num_rows: int) -> pd.Index[Any] | None:
    index = pd.RangeIndex(
        descriptor["start"], descriptor["stop"], descriptor["step"], name=descriptor["name"]
    )
    return index if len(index) == num_rows else None


def _make_index(table: pa.Table, names: list[str], described: list[Mapping[str, Any]]) -> pd.Index[Any]:
    entries = {entry.get("field_name", entry["name"]): entry for entry in described}
    levels = [_to_level(table.column(name), entries[name]) for name in names]
    labels = [_label(name, entries[name]["name"]) for name in names]
    if len(levels) > 1:
        return pd.MultiIndex.from_arrays(levels, names=labels)
    index: pd.Index[Any] = pd.Index(levels[0]).rename(labels[0])
    return index


def _label(name: str, label: str | None) -> str | None:
    return None if label == name and name.startswith(_GENERATED_PREFIX) else label


def _to_level(column: pa.ChunkedArray, entry: Mapping[str, Any]) -> pd.Series[Any]:
    """Return a level's labels; a Parquet file's texts are dictionaries here, and were mostly none before."""
    is_plain_text = pa.types.is_dictionary(column.type) and entry["pandas_type"] != "categorical"
    if is_plain_text or (pa.types.is_integer(column.type) and column.null_count):
        return ArrowColumn(column).as_inferred()
    labels: pd.Series[Any] = column.to_pandas(use_threads=False)
    return labels
