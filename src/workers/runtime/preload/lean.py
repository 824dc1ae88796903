"""Preload the worker's own code, MLflow and pandas, but no flavor: workers import those for their models."""

from __future__ import annotations

from workers.runtime.preload.setup import CODEC_MODULES, OPTIONAL_CODEC_MODULES, set_up

failed_imports = set_up(CODEC_MODULES, OPTIONAL_CODEC_MODULES)
