"""Preload everything that workers of common models need: the largest fork server, the fastest loads."""

from __future__ import annotations

import importlib
from contextlib import suppress

from workers.runtime.preload.setup import (
    CODEC_MODULES,
    FLAVOR_MODULES,
    OPTIONAL_CODEC_MODULES,
    set_up,
)


def find_plugins() -> None:
    """Have narwhals look for its plugins among all installed packages, which it remembers.

    scikit-learn asks it about each frame, so every worker would look for them, for some milliseconds.
    """
    with suppress(Exception):  # it may not be installed, or be another version
        importlib.import_module("narwhals.stable.v2.dependencies").is_into_dataframe(None)


failed_imports = set_up(CODEC_MODULES, OPTIONAL_CODEC_MODULES + FLAVOR_MODULES, warm=find_plugins)
