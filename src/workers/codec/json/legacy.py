"""The JSON bodies of the replaced service, rewritten as MLflow's."""

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
IGNORED_KEYS = frozenset({"client_request_id", "databricks_options", "model", "signature_name"})
"""What clients add beside the data for other servers; MLflow's server ignores every unknown key."""
_SPLIT_KEYS = frozenset({"columns", "data", "index"})


def to_mlflow_form(document: object) -> object:
    """Return `document` in MLflow's form if it has one of the replaced service's, else unchanged.

    The latter are a list of records, `{"columns", "data"}`, `{"record"}`, and any object with `"format"`.
    Raises InvalidInput for an unknown format and for a body of two forms.
    """
    if isinstance(document, list):
        return {"dataframe_records": document}
    if not isinstance(document, dict):
        return document
    if "format" in document:
        return _convert_by_format(document)
    if "columns" in document and "data" in document:
        return _rename_key(document, "data", new="dataframe_split")
    if "record" in document:
        return _rename_key(document, "record", new="dataframe_records")
    return document


def _convert_by_format(document: dict[str, Any]) -> dict[str, Any]:
    body = {name: value for name, value in document.items() if name != "format"}
    form = document["format"]
    if not isinstance(form, str) or form not in _FORMATS:
        raise InvalidInput(f"format must be one of {', '.join(_FORMATS)}.")
    key, mlflow_key = _FORMATS[form]
    if key not in body:
        raise InvalidInput(f"A body of format {form} must have {key!r}.")
    return _rename_key(body, key, new=mlflow_key)


def _rename_key(document: dict[str, Any], key: str, *, new: str) -> dict[str, Any]:
    """Return the document with its data under MLflow's key and its other members unchanged."""
    moved_keys = _SPLIT_KEYS if key == "data" else {key}
    rest = {name: value for name, value in document.items() if name not in moved_keys}
    if new in rest:
        raise InvalidInput(f"The body has both {key!r} and {new!r}; it must have one of them.")
    moved = {name: value for name, value in document.items() if name in moved_keys}
    return {new: moved if key == "data" else document[key], **rest}
