"""A check of Schemathesis: what a version's document allows is accepted, but for what no schema can say.

Runs in the environment of Schemathesis, which `schemathesis-version.toml` tells of it. docs/schemas.md lists
what the gateway refuses although the document allows it; a body itself shows most of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonschema_rs
import schemathesis
from schemathesis.specs.openapi import checks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemathesis import Case, CheckContext, Response

REASONS = (
    "an integer that a double cannot hold exactly",
    "a decimal of 2^52 or more",
    "ends in a NUL character",
)


def what_the_document_allows_is_accepted(ctx: CheckContext, response: Response, case: Case) -> Any:
    """Fail if a body that the document allows is refused for another reason than those."""
    is_allowed = case.meta is not None and case.meta.generation.mode.is_positive
    if not is_allowed or (
        response.status_code == 400 and is_beyond_schemas(case.body, response.json(), case)
    ):
        return None
    return checks.positive_data_acceptance(ctx, response, case)


def is_beyond_schemas(body: Any, error: dict[str, Any], case: Case) -> bool:
    """Return whether what is wrong with a body is nothing that a schema could say."""
    told = error.get("details") or [{"reason": error["message"]}]
    if all(any(reason in each["reason"] for reason in REASONS) for each in told):
        return True
    if any(map(has_columns_of_other_lengths, payloads_in(body))):
        return True
    return any(
        has_other_lengths(table) or not is_allowed_as_records(table, case) for table in tables_in(body)
    )


def tables_in(body: Any) -> Iterator[dict[str, Any]]:
    """Yield the columns and rows of a body that has them apart."""
    if isinstance(body, dict):
        table = body.get("dataframe_split", body)
        if isinstance(table, dict) and isinstance(table.get("data"), list):
            yield table


def has_other_lengths(table: dict[str, Any]) -> bool:
    """Return whether there are more or fewer names than cells in a row, or entries of the index than rows."""
    rows, names, index = table["data"], table.get("columns"), table.get("index")
    widths = {len(row) for row in rows} | (set() if names is None else {len(names)})
    return len(widths) > 1 or (index is not None and len(index) != len(rows))


def is_allowed_as_records(table: dict[str, Any], case: Case) -> bool:
    """Return whether the document allows the same cells by the names of their columns."""
    names = table.get("columns")
    if names is None:
        return True
    document = case.operation.schema.raw_schema
    form = {"$ref": "#/components/schemas/Row", "components": document["components"]}
    row_schema = jsonschema_rs.Draft202012Validator(form)
    return all(row_schema.is_valid(dict(zip(map(str, names), row, strict=True))) for row in table["data"])


def payloads_in(body: Any) -> Iterator[dict[str, Any]]:
    """Yield the object of columns that a body has."""
    if isinstance(body, dict):
        yield from (body[key] for key in ("instances", "inputs") if isinstance(body.get(key), dict))


def has_columns_of_other_lengths(payload: dict[str, Any]) -> bool:
    """Return whether lists of an object of columns differ in length; what is no list stands in each row."""
    lists = [value for value in payload.values() if isinstance(value, list)]
    lengths = set(map(len, lists))
    return len(lengths) > 1 or (lengths == {0} and len(lists) < len(payload))


schemathesis.check(what_the_document_allows_is_accepted)
