"""Keep the worker's modules apart from those that a model brings along (MLflow's `code_paths`).

Python finds a module by its name in `sys.modules` first. So a model's own package `workers` would never be
found beside ours.
"""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from workers.runtime.preload.setup import (
    FLAVOR_MODULES,
    OPTIONAL_CODEC_MODULES,
    OWN_PACKAGES,
    PreloadState,
)

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator
    from types import ModuleType

_CODE_FOLDER: Final = "code"  # of each model that was logged with `code_paths`
_PRELOADED_PACKAGES: Final = frozenset(
    name.partition(".")[0] for name in (*FLAVOR_MODULES, *OPTIONAL_CODEC_MODULES, "orjson")
) - {"mlflow"}

_hidden: dict[str, ModuleType] = {}  # to free them would take longer, and their memory is the fork server's


def hide_modules(directory: str) -> None:
    """Make this process forget our modules, and those preloaded ones that the model in `directory` brings.

    Their functions keep what they have imported. Call it when nothing of this package is left to import.
    """
    later = islice(reversed(sys.modules), len(sys.modules) - PreloadState.module_count)
    names = [*PreloadState.modules, *_modules_of(OWN_PACKAGES, later)]
    brought = _PRELOADED_PACKAGES.intersection(_brought_names(Path(directory, _CODE_FOLDER)))
    if brought:
        names += _modules_of(brought, sys.modules)
    for name in names:
        _hidden[name] = sys.modules.pop(name)


def _modules_of(packages: Container[str], names: Iterable[str]) -> list[str]:
    return [name for name in names if name.partition(".")[0] in packages]


def _brought_names(folder: Path) -> Iterator[str]:
    """Yield the names of the modules and packages in a folder that may not exist."""
    if folder.is_dir():
        yield from (entry.name.partition(".")[0] for entry in folder.iterdir())
