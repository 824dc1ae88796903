"""Preload everything that workers of common models need: the largest fork server, the fastest loads."""

from __future__ import annotations

from workers.runtime.preload.setup import (
    CODEC_MODULES,
    FLAVOR_MODULES,
    OPTIONAL_CODEC_MODULES,
    set_up,
)

failed_imports = set_up(CODEC_MODULES, OPTIONAL_CODEC_MODULES + FLAVOR_MODULES)
