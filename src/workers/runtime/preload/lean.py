"""Preload the worker's own code, MLflow and pandas, but no flavor: workers import those for their models."""

from __future__ import annotations

from workers.runtime.preload.forkserver_setup import CODEC_MODULES, OPTIONAL_CODEC_MODULES, set_up

set_up(CODEC_MODULES, OPTIONAL_CODEC_MODULES)
