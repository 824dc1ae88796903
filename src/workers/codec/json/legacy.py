"""The JSON bodies of the replaced service, written anew as MLflow's."""

from __future__ import annotations

from typing import Any

from workers.errors import InvalidInput

# "format" → the key of the body that holds the data, and MLflow's key for it
_FORMATS = {
    "pandas_split": ("data", "dataframe_split"),
    "pandas_record": ("record", "dataframe_records"),
    "tf-instances": ("instances", "instances"),
    "tf-inputs": ("inputs", "inputs"),
}
_SPLIT_KEYS = frozenset({"columns", "data", "index"})


def to_mlflow_form(document: object) -> object:
    """`document` in MLflow's form where it has one of the replaced service's, else unchanged.

    Those are a bare list of records, `{"columns", "data"}`, `{"record"}`, and any with `"format"`.
    Raises InputRefused for a format that is not known, and for two forms at once.
    """
    if isinstance(document, list):
        return {"dataframe_records": document}
    if not isinstance(document, dict):
        return document
    if "format" in document:
        return _convert_by_format(document)
    if "columns" in document and "data" in document:
        return _rename_key(document, "data", "dataframe_split")
    if "record" in document:
        return _rename_key(document, "record", "dataframe_records")
    return document


def _convert_by_format(document: dict[str, Any]) -> dict[str, Any]:
    body = {name: value for name, value in document.items() if name != "format"}
    form = document["format"]
    if not isinstance(form, str) or form not in _FORMATS:
        raise InvalidInput(f"format must be one of {', '.join(_FORMATS)}.")
    key, name = _FORMATS[form]
    if key not in body:
        raise InvalidInput(f"A body of format {form} must have {key!r}.")
    return _rename_key(body, key, name)


def _rename_key(document: dict[str, Any], key: str, name: str) -> dict[str, Any]:
    """The data under MLflow's key, beside everything else that the body has."""
    moved = _SPLIT_KEYS if key == "data" else {key}
    rest = {other: value for other, value in document.items() if other not in moved}
    if name in rest:
        raise InvalidInput(f"The body has both {key!r} and {name!r}; it must have one of them.")
    split = {other: value for other, value in document.items() if other in moved}
    return {name: split if key == "data" else document[key], **rest}
