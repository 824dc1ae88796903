"""Inspect the parts of a model: is each of them known to handle every row independently?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

ROW_WISE_PACKAGES = frozenset({"sklearn", "xgboost", "lightgbm", "catboost"})
"""Packages whose estimators handle each row independently, except those named below."""

_DATA_PACKAGES = frozenset({"numpy", "scipy", "pandas", "pyarrow"})
_PLAIN_MODULES = frozenset(
    {"builtins", "collections", "ctypes", "datetime", "decimal", "enum", "random", "threading", "types"}
)
_CROSS_ROW_ESTIMATORS = frozenset(
    {
        "DummyClassifier",  # may draw at random, one number per row
        "IterativeImputer",  # as above
        "MiniBatchNMF",  # starts its search from the mean of its input
        "NMF",  # as above
        # The order of neighbours at the same distance, common with whole numbers, depends on the last bits
        # of a sum, and those on how many rows are summed at once.
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
_FUNCTION_ESTIMATORS = frozenset({"FunctionTransformer", "TransformedTargetRegressor"})
_COLUMN_NAME_ESTIMATORS = frozenset({"ColumnTransformer", "FunctionTransformer", "make_column_selector"})
_OUTPUT_CONFIG = "_sklearn_output_config"  # an estimator whose output was set to frames has it
_MAX_PARTS = 200_000
_TOO_MANY = object()


def first_unknown_part(model: object) -> str | None:
    """Describe the first part that is not known to handle rows independently; None if all are known.

    Everything that the model contains is inspected. A custom subclass or function may do anything, so
    none is known. numpy's ufuncs are known: they compute cell by cell.
    """
    for part in _walk_parts(model):
        if (name := _describe_unknown(part)) is not None:
            return name
    return None


def takes_arrays(model: object) -> bool:
    """Return whether no part of the model uses column names, or needs frames between its steps."""
    for part in _walk_parts(model):
        attributes = getattr(part, "__dict__", {})
        if type(part).__name__ in _COLUMN_NAME_ESTIMATORS or _OUTPUT_CONFIG in attributes or _is_custom(part):
            return False
    return True


def _walk_parts(model: object) -> Iterator[object]:
    """Yield the model and everything that it contains, each once; `_TOO_MANY` last if that is too much."""
    seen: set[int] = set()
    pending: list[object] = [model]
    while pending:
        part = pending.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if len(seen) > _MAX_PARTS:
            yield _TOO_MANY
            return
        yield part
        pending.extend(_children(part))


def _is_custom(part: object) -> bool:
    """Return whether the part's class is no known library's, so that it may look at anything."""
    package = _top_package(type(part).__module__)
    return part is _TOO_MANY or not (
        package in ROW_WISE_PACKAGES or package in _DATA_PACKAGES or type(part).__module__ in _PLAIN_MODULES
    )


def _describe_unknown(part: object) -> str | None:
    if part is _TOO_MANY:
        return "more parts than are inspected"
    if isinstance(part, FunctionType | BuiltinFunctionType | MethodType):
        return None if _top_package(part.__module__) == "sklearn" else f"the function {part.__name__}"
    if isinstance(part, type | np.ufunc | ModuleType):
        return None
    cls = type(part)
    package = _top_package(cls.__module__)
    if package in ROW_WISE_PACKAGES:
        listed = cls.__name__ in _CROSS_ROW_ESTIMATORS | _FUNCTION_ESTIMATORS
        return _describe_cross_row(part) if listed else None
    is_data = package in _DATA_PACKAGES or cls.__module__ in _PLAIN_MODULES
    if is_data and (package == "scipy" or not callable(part)):
        return None
    return f"a {cls.__module__}.{cls.__qualname__}"


def _describe_cross_row(part: object) -> str | None:
    name = type(part).__name__
    if getattr(part, "strategy", "") in _FIXED_STRATEGIES:
        return None  # a boosted classifier's initial estimator, for example
    if name in _CROSS_ROW_ESTIMATORS:
        return f"a {name}"
    functions = [getattr(part, field, None) for field in ("func", "inverse_func")]
    if all(function is None or isinstance(function, np.ufunc) for function in functions):
        return None
    return f"a {name} with a function that is not a numpy ufunc"


def _top_package(module: str | None) -> str:
    return (module or "").partition(".")[0]


def _children(part: object) -> Iterable[object]:
    """Return what may contain estimators or functions; arrays of numbers and strings do not."""
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
    if _top_package(type(part).__module__) not in ROW_WISE_PACKAGES:
        return ()
    return getattr(part, "__dict__", {}).values()
