"""Reads the fields of a JSON object that came from another machine; each has one type and no other."""

from __future__ import annotations

from math import inf, isfinite, nan
from typing import TYPE_CHECKING, Any, Final, TypeVar

from workers.protocol.messages import ModelKey

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Value = TypeVar("Value")

_MISSING: Final[Any] = object()
_NOT_FINITE: Final = {"NaN": nan, "Infinity": inf, "-Infinity": -inf}
_MAX_INTEGER: Final = 2**63 - 1
_MAX_KEY_CHARACTERS: Final = 4_096


class WireError(Exception):
    """A message is not valid. The text says what is wrong, and never repeats what was sent."""


class Fields:
    """A reader of one JSON object. Unknown fields are ignored: a newer program may send more.

    Each method raises WireError if the field has another type, or is absent and has no default.
    """

    def __init__(self, value: object, what: str) -> None:
        if not isinstance(value, dict):
            raise WireError(f"{what} is no JSON object")
        self._values: dict[str, Any] = value
        self._what = what

    def has(self, name: str) -> bool:
        """Return whether the field is there and not null."""
        return self._values.get(name) is not None

    def value(self, name: str) -> object:
        """Return a value of any type."""
        return self._get(name)

    def text(self, name: str, default: str = _MISSING) -> str:
        """Return a string."""
        return self._of(str, name, default)

    def optional_text(self, name: str) -> str | None:
        """Return a string, or None if the field is null or absent."""
        return None if not self.has(name) else self.text(name)

    def flag(self, name: str, default: bool = _MISSING) -> bool:
        """Return true or false."""
        return self._of(bool, name, default)

    def integer(self, name: str, default: int = _MISSING) -> int:
        """Return an integer that is not negative and has at most 63 bits."""
        value = self._of(int, name, default)
        if isinstance(value, bool) or not 0 <= value <= _MAX_INTEGER:
            raise self._wrong(name)
        return value

    def optional_integer(self, name: str) -> int | None:
        """Return an integer as `integer` does, or None if the field is null or absent."""
        return None if not self.has(name) else self.integer(name)

    def seconds(self, name: str, default: float = _MISSING) -> float:
        """Return a finite number that is not negative."""
        value = to_number(self._get(name, default))
        if value is None or not (isfinite(value) and value >= 0):
            raise self._wrong(name)
        return value

    def one_of(self, name: str, choices: Sequence[str]) -> Any:
        """Return a string that is one of `choices`."""
        if (value := self.text(name)) not in choices:
            raise self._wrong(name)
        return value

    def items(self, name: str, default: list[Any] = _MISSING) -> list[Any]:
        """Return an array."""
        return self._of(list, name, default)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return an array of strings."""
        values = self.items(name)
        if not all(isinstance(value, str) for value in values):
            raise self._wrong(name)
        return tuple(values)

    def objects(self, name: str, default: list[Any] = _MISSING) -> Iterator[Fields]:
        """Yield readers of the objects in an array."""
        for value in self.items(name, default):
            yield Fields(value, f"an entry of {name}")

    def object(self, name: str) -> Fields:
        """Return a reader of an object."""
        return Fields(self._get(name), name)

    def optional_object(self, name: str) -> Fields | None:
        """Return a reader of an object, or None if the field is null or absent."""
        return None if not self.has(name) else self.object(name)

    def text_map(self, name: str) -> dict[str, str]:
        """Return an object whose values are strings."""
        values = self._of(dict, name)
        if not all(isinstance(value, str) for value in values.values()):
            raise self._wrong(name)
        return values

    def integer_map(self, name: str) -> dict[str, int]:
        """Return an object whose values are integers as `integer` returns."""
        fields = self.object(name)
        return {key: fields.integer(key) for key in self._of(dict, name)}

    def number_map(self, name: str) -> dict[str, float]:
        """Return an object whose values are numbers, of which any may be NaN or infinite."""
        numbers = {key: to_number(value) for key, value in self._of(dict, name).items()}
        if any(number is None for number in numbers.values()):
            raise self._wrong(name)
        return {key: number for key, number in numbers.items() if number is not None}

    def key(self, name: str = "key") -> ModelKey:
        """Return the key of a model."""
        return to_key(self._get(name))

    def keys(self, name: str = "keys") -> tuple[ModelKey, ...]:
        """Return an array of keys of models."""
        return tuple(map(to_key, self.items(name)))

    def limit(self, name: str, most: int) -> None:
        """Raise WireError if an array or object has more than `most` entries."""
        value = self._values.get(name)
        if isinstance(value, list | dict) and len(value) > most:
            raise WireError(f"{self._what} has more than {most} {name}")

    def _get(self, name: str, default: Any = _MISSING) -> Any:
        value = self._values.get(name, default)
        if value is _MISSING:
            raise WireError(f"{self._what} has no {name}")
        return value

    def _of(self, kind: type[Value], name: str, default: Any = _MISSING) -> Value:
        value = self._get(name, default)
        if not isinstance(value, kind):
            raise self._wrong(name)
        return value

    def _wrong(self, name: str) -> WireError:
        return WireError(f"{self._what} has a {name} that is not valid")


def to_key(value: object) -> ModelKey:
    """Return a model's key from an array of three strings."""
    if not isinstance(value, list) or len(value) != 3 or not all(isinstance(part, str) for part in value):
        raise WireError("a key that is not three strings")
    if sum(map(len, value)) > _MAX_KEY_CHARACTERS:
        raise WireError(f"a key of more than {_MAX_KEY_CHARACTERS} characters")
    return ModelKey(*value)


def to_number(value: object) -> float | None:
    """Return a number, from a number or from what `from_number` made; None for anything else."""
    if isinstance(value, str):
        return _NOT_FINITE.get(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


def from_number(value: float) -> float | str:
    """Return what JSON can hold of a number: "NaN", "Infinity" and "-Infinity" are strings."""
    if isfinite(value):
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124 - as only NaN is


def clean(text: str) -> str:
    """Return the text without lone surrogates, which no JSON may hold."""
    return text if text.isascii() else text.encode(errors="replace").decode()
