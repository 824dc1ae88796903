"""What a model is made of: whether every part of it is known to answer each row by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

ROW_WISE_PACKAGES = frozenset({"sklearn", "xgboost", "lightgbm", "catboost"})
"""Packages whose estimators transform and predict each row by itself, but for those named below."""

_DATA_PACKAGES = frozenset({"numpy", "scipy", "pandas", "pyarrow"})
_PLAIN_MODULES = frozenset(
    {"builtins", "collections", "ctypes", "datetime", "decimal", "enum", "random", "threading", "types"}
)
_CROSS_ROW_ESTIMATORS = frozenset(
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
_FUNCTION_ESTIMATORS = frozenset({"FunctionTransformer", "TransformedTargetRegressor"})
_COLUMN_NAME_ESTIMATORS = frozenset({"ColumnTransformer", "FunctionTransformer", "make_column_selector"})
_OUTPUT_CONFIG = "_sklearn_output_config"  # of an estimator that was told to give frames
_MAX_PARTS = 200_000
_TOO_MANY = object()


def first_unknown_part(model: object) -> str | None:
    """The first part that is not known to answer each row by itself, in words; None where all are.

    Looks at everything that the model holds. A subclass or a function of somebody's own may do
    anything, so that none is known; of functions, numpy's ufuncs are, which take cell by cell.
    """
    for part in _walk_parts(model):
        if (name := _describe_unknown(part)) is not None:
            return name
    return None


def takes_arrays(model: object) -> bool:
    """Whether no part of the model looks at the names of columns, nor wants frames between its steps."""
    for part in _walk_parts(model):
        held = getattr(part, "__dict__", {})
        if type(part).__name__ in _COLUMN_NAME_ESTIMATORS or _OUTPUT_CONFIG in held or _is_custom(part):
            return False
    return True


def _walk_parts(model: object) -> Iterator[object]:
    """The model and everything that it holds, each once; at the end a part too many, where there are."""
    seen: set[int] = set()
    left: list[object] = [model]
    while left:
        part = left.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if len(seen) > _MAX_PARTS:
            yield _TOO_MANY
            return
        yield part
        left.extend(_children(part))


def _is_custom(part: object) -> bool:
    """Whether it is of somebody's own making, which may look at anything."""
    package = _top_package(type(part).__module__)
    return part is _TOO_MANY or not (
        package in ROW_WISE_PACKAGES or package in _DATA_PACKAGES or type(part).__module__ in _PLAIN_MODULES
    )


def _describe_unknown(part: object) -> str | None:
    if part is _TOO_MANY:
        return "more parts than are looked at"
    if isinstance(part, FunctionType | BuiltinFunctionType | MethodType):
        return None if _top_package(part.__module__) == "sklearn" else f"the function {part.__name__}"
    if isinstance(part, type | np.ufunc | ModuleType):
        return None
    kind = type(part)
    package = _top_package(kind.__module__)
    if package in ROW_WISE_PACKAGES:
        return (
            _describe_cross_row(part)
            if kind.__name__ in _CROSS_ROW_ESTIMATORS | _FUNCTION_ESTIMATORS
            else None
        )
    data = package in _DATA_PACKAGES or kind.__module__ in _PLAIN_MODULES
    return (
        None
        if data and (package == "scipy" or not callable(part))
        else f"a {kind.__module__}.{kind.__qualname__}"
    )


def _describe_cross_row(part: object) -> str | None:
    name = type(part).__name__
    if getattr(part, "strategy", "") in _FIXED_STRATEGIES:
        return None  # as a boosted classifier's first guess is
    if name in _CROSS_ROW_ESTIMATORS:
        return f"a {name}"
    functions = [getattr(part, field, None) for field in ("func", "inverse_func")]
    if all(function is None or isinstance(function, np.ufunc) for function in functions):
        return None
    return f"a {name} with a function that is no ufunc of numpy's"


def _top_package(module: str | None) -> str:
    return (module or "").partition(".")[0]


def _children(part: object) -> Iterable[object]:
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
    if _top_package(type(part).__module__) not in ROW_WISE_PACKAGES:
        return ()
    return getattr(part, "__dict__", {}).values()
