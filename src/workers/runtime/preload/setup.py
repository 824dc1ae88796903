"""Prepare the fork server: import modules once for all workers.

The fork server imports one entry module of this package: `full`, `lean` or `none`. No code here may run
OpenMP: a fork after that hangs or crashes. No code here may change what a library does: model code must find
each library as if it had imported it itself.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import os
import sys
import traceback
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

from workers.environment import NO_MLFLOW_URI

if TYPE_CHECKING:
    from collections.abc import Callable

_TELEMETRY_OFF: Final = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
_MAX_ERROR_CHARACTERS: Final = 1_000
_TRACKING_VARIABLE: Final = "MLFLOW_TRACKING_URI"

OWN_PACKAGES: Final = frozenset({"workers", "gateway"})
CODEC_MODULES: Final = (
    "mlflow.pyfunc",
    "mlflow.pyfunc.scoring_server",
    "pandas",
    "orjson",
    "pyarrow.csv",
    "pyarrow.pandas_compat",
    "pyarrow.parquet",
    "workers.runtime.main",
    "workers.runtime.mlflow_access",
    "workers.runtime.model",
)
"""The worker's own code and what it imports."""
OPTIONAL_CODEC_MODULES: Final = ("simdjson",)
FLAVOR_MODULES: Final = (
    "narwhals._pandas_like.namespace",  # scikit-learn imports these when it is given its first frame
    "narwhals.stable.v2._namespace",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.neighbors",
    "sklearn.pipeline",
    "sklearn.preprocessing",
    "sklearn.svm",
    "sklearn.tree",
    "skops.io",
    "mlflow.sklearn",
    "lightgbm",
    "xgboost",
)
"""What models of the common flavors import, if it is installed."""


class FailedImport(NamedTuple):
    """A module that could not be imported, the package that is to blame, and the error's text."""

    module: str
    package: str
    text: str


class PreloadState:
    """What workers, being forks of the fork server, inherit from it.

    `modules` are the modules of this package among the first `module_count` modules of the process. To look
    for them in a worker would copy the memory of all modules' names. `errors` are those of required modules.
    """

    complete = False
    errors: ClassVar[list[FailedImport]] = []
    modules: tuple[str, ...] = ()
    module_count = 0


def set_up(
    required: tuple[str, ...] = (), optional: tuple[str, ...] = (), *, warm: Callable[[], None] | None = None
) -> list[str]:
    """Prepare this process to be forked, and import `required` and those of `optional` that are installed.

    `warm` is called when all is imported, before objects are frozen.

    Return the names of those that could not be imported. `PreloadState.complete` tells workers whether all
    of `required` could.
    """
    os.environ.update(_TELEMETRY_OFF)
    os.environ.setdefault(_TRACKING_VARIABLE, NO_MLFLOW_URI)
    PreloadState.errors = [error for name in required if (error := _import(name)) is not None]
    failed = [error.module for error in PreloadState.errors]
    installed = [name for name in optional if importlib.util.find_spec(name.partition(".")[0]) is not None]
    failed_optional = [name for name in installed if _import(name) is not None]
    if warm is not None:
        warm()
    PreloadState.modules = tuple(name for name in sys.modules if name.partition(".")[0] in OWN_PACKAGES)
    PreloadState.module_count = len(sys.modules)
    gc.collect()
    gc.freeze()
    PreloadState.complete = not failed
    return failed + failed_optional


def _import(name: str) -> FailedImport | None:
    """Import a module; return the error if that fails."""
    try:
        importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 - a broken package must not prevent the import of the others
        text = f"{type(error).__name__}: {error}"[:_MAX_ERROR_CHARACTERS]
        return FailedImport(name, _package_to_blame(error, name), text)
    return None


def _package_to_blame(error: Exception, module: str) -> str:
    """Return the package that is missing, or in which the error was raised."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return error.name.partition(".")[0]
    frames = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    packages = [name.partition(".")[0] for name in frames]
    blamed = [package for package in packages if package not in {"importlib", "workers"}]
    return blamed[-1] if blamed else module.partition(".")[0]
