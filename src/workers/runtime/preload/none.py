"""Preload nothing: the smallest fork server. Each worker imports MLflow and pandas to load its model."""

from __future__ import annotations

from workers.runtime.preload.setup import set_up

failed_imports = set_up()
