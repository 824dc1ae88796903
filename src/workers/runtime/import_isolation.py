"""Keep the worker's modules apart from those that a model brings along (MLflow's `code_paths`).

Python finds a module by its name in `sys.modules` first. So a model's own package `workers` would never be
found beside ours.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from workers.runtime.preload.forkserver_setup import FLAVOR_MODULES, OPTIONAL_CODEC_MODULES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from types import ModuleType

_OWN_PACKAGES: Final = frozenset({"workers", "gateway"})
_CODE_FOLDER: Final = "code"  # of each model that was logged with `code_paths`
_PRELOADED_PACKAGES: Final = frozenset(
    name.partition(".")[0] for name in (*FLAVOR_MODULES, *OPTIONAL_CODEC_MODULES, "orjson")
) - {"mlflow"}

_hidden: dict[str, ModuleType] = {}  # to free them would take longer, and their memory is the fork server's


def hide_modules(directory: str) -> None:
    """Make this process forget our modules, and those preloaded ones that the model in `directory` brings.

    Their functions keep what they have imported. Call it when nothing of this package is left to import.
    """
    brought = _PRELOADED_PACKAGES.intersection(_brought_names(Path(directory, _CODE_FOLDER)))
    for name in list(_modules_of(_OWN_PACKAGES | brought)):
        _hidden[name] = sys.modules.pop(name)


def _modules_of(packages: Collection[str]) -> Iterator[str]:
    prefixes = tuple(packages)  # most of the modules are others: one call tells
    return (name for name in sys.modules if name.startswith(prefixes) and name.partition(".")[0] in packages)


def _brought_names(folder: Path) -> Iterator[str]:
    """Yield the names of the modules and packages in a folder that may not exist."""
    if folder.is_dir():
        yield from (entry.name.partition(".")[0] for entry in folder.iterdir())
