"""What a model is made of: whether every part of it is known to answer each row by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

PACKAGES = frozenset({"sklearn", "xgboost", "lightgbm", "catboost"})
"""Packages whose estimators transform and predict each row by itself, but for those named below."""

_DATA = frozenset({"numpy", "scipy", "pandas", "pyarrow"})
_PLAIN_MODULES = frozenset(
    {"builtins", "collections", "ctypes", "datetime", "decimal", "enum", "random", "threading", "types"}
)
_OF_THE_WHOLE = frozenset(
    {
        "DummyClassifier",  # may draw at random, one number per row
        "IterativeImputer",  # likewise
        "MiniBatchNMF",  # begins its search from the mean of what it is given
        "NMF",  # likewise
        # Neighbours at one distance, as whole numbers have them, are told apart by the last bits of a sum,
        # which depend on how many rows are summed at once.
        "KNNImputer",
        "KNeighborsClassifier",
        "KNeighborsRegressor",
        "KNeighborsTransformer",
        "LocalOutlierFactor",
        "RadiusNeighborsClassifier",
        "RadiusNeighborsRegressor",
        "RadiusNeighborsTransformer",
    }
)
_FIXED_STRATEGIES = frozenset({"constant", "most_frequent", "prior"})  # of a DummyClassifier
_APPLIES_FUNCTIONS = frozenset({"FunctionTransformer", "TransformedTargetRegressor"})
_BY_NAME = frozenset({"ColumnTransformer", "FunctionTransformer", "make_column_selector"})
_OUTPUT = "_sklearn_output_config"  # of an estimator that was told to give frames
_MOST = 200_000
_TOO_MANY = object()


def foreign(model: object) -> str | None:
    """The first part that is not known to answer each row by itself, in words; None where all are.

    Looks at everything that the model holds. A subclass or a function of somebody's own may do
    anything, so that none is known; of functions, numpy's ufuncs are, which take cell by cell.
    """
    for part in _all(model):
        if (name := _unknown(part)) is not None:
            return name
    return None


def takes_arrays(model: object) -> bool:
    """Whether no part of the model looks at the names of columns, nor wants frames between its steps."""
    for part in _all(model):
        held = getattr(part, "__dict__", {})
        if type(part).__name__ in _BY_NAME or _OUTPUT in held or _is_own(part):
            return False
    return True


def _all(model: object) -> Iterator[object]:
    """The model and everything that it holds, each once; at the end a part too many, where there are."""
    seen: set[int] = set()
    left: list[object] = [model]
    while left:
        part = left.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if len(seen) > _MOST:
            yield _TOO_MANY
            return
        yield part
        left.extend(_held_by(part))


def _is_own(part: object) -> bool:
    """Whether it is of somebody's own making, which may look at anything."""
    package = _package(type(part).__module__)
    return part is _TOO_MANY or not (
        package in PACKAGES or package in _DATA or type(part).__module__ in _PLAIN_MODULES
    )


def _unknown(part: object) -> str | None:
    if part is _TOO_MANY:
        return "more parts than are looked at"
    if isinstance(part, FunctionType | BuiltinFunctionType | MethodType):
        return None if _package(part.__module__) == "sklearn" else f"the function {part.__name__}"
    if isinstance(part, type | np.ufunc | ModuleType):
        return None
    kind = type(part)
    package = _package(kind.__module__)
    if package in PACKAGES:
        return _unfit(part) if kind.__name__ in _OF_THE_WHOLE | _APPLIES_FUNCTIONS else None
    data = package in _DATA or kind.__module__ in _PLAIN_MODULES
    return (
        None
        if data and (package == "scipy" or not callable(part))
        else f"a {kind.__module__}.{kind.__qualname__}"
    )


def _unfit(part: object) -> str | None:
    name = type(part).__name__
    if getattr(part, "strategy", "") in _FIXED_STRATEGIES:
        return None  # as a boosted classifier's first guess is
    if name in _OF_THE_WHOLE:
        return f"a {name}"
    functions = [getattr(part, field, None) for field in ("func", "inverse_func")]
    if all(function is None or isinstance(function, np.ufunc) for function in functions):
        return None
    return f"a {name} with a function that is no ufunc of numpy's"


def _package(module: str | None) -> str:
    return (module or "").partition(".")[0]


def _held_by(part: object) -> Iterable[object]:
    """What may hold estimators or functions; arrays of numbers and texts do not."""
    if isinstance(part, str | bytes | int | float | type | ModuleType):
        return ()
    if isinstance(part, Mapping):
        return (*part.keys(), *part.values())
    if isinstance(part, list | tuple | set | frozenset):
        return part
    if isinstance(part, np.ndarray):
        return part.ravel().tolist() if part.dtype == object else ()
    return _attributes(part)


def _attributes(part: object) -> Iterable[Any]:
    if _package(type(part).__module__) not in PACKAGES:
        return ()
    return getattr(part, "__dict__", {}).values()
