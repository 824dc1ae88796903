"""Tables as JSON Schema: the rows of a signature of columns, in each form that a body may give them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import orjson

from gateway.api.schema.types import SCALARS, JsonSchema, column_schema, is_required

_NESTED: Final = frozenset({"array", "object", "map", "sparkml_vector"})
_SINGLE_OBJECTS: Final = frozenset({"object", "map", "any"})
_LISTS: Final = frozenset({"array", "sparkml_vector"})
_MAX_KINDS: Final = 16
_MAX_CHECKED_NAMES: Final = 64


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a signature; `name` is None if it has none. It may be a number: see `Columns.names`."""

    name: object
    kind: str
    required: bool
    schema: JsonSchema


@dataclass(frozen=True)
class Columns:
    """The columns of a signature, and the schemas of tables that have them."""

    columns: tuple[Column, ...]

    @cached_property
    def are_named(self) -> bool:
        """Whether values are matched to columns by name, not by position."""
        return any(column.name is not None for column in self.columns)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names as text, as a record has them."""
        return tuple(str(column.name) for column in self.columns)

    @cached_property
    def are_possible(self) -> bool:
        """Whether a body can name all columns: they are texts and numbers, all different."""
        if not self.are_named:
            return True
        return len(set(self.names)) == len(self.names) and all(_is_name(each.name) for each in self.columns)

    @property
    def have_nested(self) -> bool:
        """Whether a column holds lists, objects or maps."""
        return any(column.kind in _NESTED for column in self.columns)

    def row(self) -> JsonSchema:
        """Return the schema of a row as an object. Columns without names are matched by position."""
        if not self.are_named:
            count = len(self.columns)
            return {
                "type": "object",
                "additionalProperties": self.cell(),
                "minProperties": count,
                "maxProperties": count,
            }
        row: JsonSchema = {
            "type": "object",
            "properties": dict(zip(self.names, (column.schema for column in self.columns), strict=True)),
            "additionalProperties": False,
        }
        if required := self._required_names():
            row["required"] = required
        return row

    def split(self) -> JsonSchema:
        """Return the schema of columns and rows apart.

        Columns may come in any order. So a cell of a named column may be of the type of any of them.
        """
        names: JsonSchema = {"type": "array", "items": self._name(), "uniqueItems": True}
        least = len(self._required_names())
        if not self.are_named:
            least = len(self.columns)
            names = {"type": "array", "items": {"type": ["string", "number"]}, "uniqueItems": True}
        names |= {"minItems": least, "maxItems": len(self.columns)}
        if 0 < least < len(self.columns) <= _MAX_CHECKED_NAMES:
            names["allOf"] = [{"contains": {"const": name}} for name in self._required_names()]
        needs_names = self.are_named and len(self.columns) > 1 and not self._names_are_positions()
        split: JsonSchema = {
            "type": "object",
            "required": ["columns", "data"] if needs_names else ["data"],
            "properties": {
                "columns": names if needs_names else {"anyOf": [names, {"type": "null"}]},
                "data": {"type": "array", "items": self.values(least)},
                "index": {
                    "type": ["array", "null"],
                    "items": {"type": list(_PLAIN)},
                    "description": "One entry for each row of data.",
                },
            },
            "additionalProperties": False,
        }
        return split if needs_names else split | _WITHOUT_NAMES_HAS_ROWS

    def values(self, least: int | None = None) -> JsonSchema:
        """Return the schema of a row as a list, which has at least `least` values, by default all."""
        count = len(self.columns)
        row: JsonSchema = {
            "type": "array",
            "minItems": count if least is None else least,
            "maxItems": count,
        }
        in_order = not self.are_named or self._names_are_positions()
        if in_order and len(self._kinds) > 1:
            return row | {"prefixItems": [column.schema for column in self.columns]}
        return row | {"items": self.cell()}

    def lists(self) -> JsonSchema:
        """Return the schema of an object of columns; a value that is no list stands in each row."""
        properties = {
            name: {"anyOf": [{"type": "array", "items": column.schema}, column.schema]}
            for name, column in zip(self.names, self.columns, strict=True)
        }
        schema: JsonSchema = {
            "type": "object",
            "properties": properties,
            "additionalProperties": False,
        }
        if not self.are_named:
            cells: JsonSchema = {"anyOf": [{"type": "array", "items": self.cell()}, self.cell()]}
            count = len(self.columns)
            return {
                "type": "object",
                "additionalProperties": cells,
                "minProperties": count,
                "maxProperties": count,
            }
        if required := self._required_names():
            schema["required"] = required
        return schema

    def payloads(self) -> list[JsonSchema]:
        """Return the schemas of what `instances` and `inputs` may be beside records and columns."""
        single = self.columns[0] if len(self.columns) == 1 else None
        if single is not None and not self.takes_objects:
            return [{"type": "array", "items": single.schema}, single.schema]
        if single is not None and single.kind in _LISTS:
            cells: JsonSchema = {"type": "array", "items": single.schema, **_starting_with("array")}
            cell: JsonSchema = {**single.schema, "type": "array", **_not_starting_with("array", "object")}
            return [cells, cell, {"allOf": [single.schema["items"], {"type": list(_PLAIN)}]}]
        if self.are_named and single is None and not self._names_are_positions():
            return []
        rows: list[JsonSchema] = [{"type": "array", "items": self.values()}]
        if single is None:
            return [rows[0] | {"minItems": 1}]
        if single.kind in {"object", "map"}:
            return rows
        flat: JsonSchema = single.schema if single.kind in SCALARS else {"type": list(_PLAIN)}
        values: JsonSchema = {
            "type": "array",
            "items": single.schema,
            **_not_starting_with("array", "object"),
        }
        return [*rows, values, flat]

    @property
    def takes_objects(self) -> bool:
        """Whether an object under `instances` is a table; else it is the value of the only column."""
        single = self.columns[0] if len(self.columns) == 1 else None
        return single is None or single.name is not None or single.kind not in _SINGLE_OBJECTS

    def cell(self) -> JsonSchema:
        """Return the schema of a cell of any of the columns."""
        if len(self._kinds) == 1:
            return self._kinds[0]
        return {"anyOf": self._kinds} if len(self._kinds) <= _MAX_KINDS else {}

    @cached_property
    def _kinds(self) -> list[JsonSchema]:
        """The schemas of the columns, each once."""
        different = {id(column.schema): column.schema for column in self.columns}  # scalars share theirs
        return list({orjson.dumps(schema): schema for schema in different.values()}.values())

    def _required_names(self) -> list[str]:
        if not self.are_named:
            return []
        return [name for name, column in zip(self.names, self.columns, strict=True) if column.required]

    def _name(self) -> JsonSchema:
        """Return the schema of a name, which may also be the number that it is."""
        texts: JsonSchema = {"type": "string", "enum": list(self.names)}
        numbers = [column.name for column in self.columns if not isinstance(column.name, str)]
        kind = "integer" if all(type(number) is int for number in numbers) else "number"
        return {"anyOf": [texts, {"type": kind, "enum": numbers}]} if numbers else texts

    def _names_are_positions(self) -> bool:
        names = [column.name for column in self.columns]
        return all(type(name) is int for name in names) and set(names) == set(range(len(names)))


_PLAIN: Final = ("string", "number", "boolean", "null")

_WITHOUT_NAMES_HAS_ROWS: Final[JsonSchema] = {
    "not": {"properties": {"columns": {"type": "null"}, "data": {"type": "array", "maxItems": 0}}}
}
"""The part of a table's schema by which its columns, if they have no names, are counted in its first row."""


def _not_starting_with(*kinds: str) -> JsonSchema:
    """Return the part of a list's schema by which its first item, if it has one, is none of these."""
    return {"not": {"minItems": 1, "prefixItems": [{"type": list(kinds)}]}}


def _starting_with(kind: str) -> JsonSchema:
    """Return the part of a list's schema by which it has a first item, which is one of these."""
    return {"minItems": 1, "not": {"prefixItems": [{"not": {"type": kind}}]}}


def parse_columns(specs: object) -> Columns | None:
    """Return the columns of a part of a signature, or None if it has none, or is no such part."""
    if not isinstance(specs, list) or not specs or not all(isinstance(spec, Mapping) for spec in specs):
        return None
    return Columns(tuple(map(_parse, specs)))


def _parse(spec: Mapping[str, object]) -> Column:
    kind = spec.get("type")
    return Column(
        spec.get("name"), kind if isinstance(kind, str) else "", is_required(spec), column_schema(spec)
    )


def _is_name(name: object) -> bool:
    return isinstance(name, str) or type(name) is int or (isinstance(name, float) and math.isfinite(name))


def is_scalar(column: Column) -> bool:
    """Return whether the column holds single values, so that a CSV file can have it."""
    return column.kind in SCALARS
