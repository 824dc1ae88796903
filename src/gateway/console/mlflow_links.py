"""Addresses of MLflow's own pages, without credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from gateway.settings import MlflowSettings


def base_address(settings: MlflowSettings) -> str:
    """Return the address of the MLflow server's pages, empty if it has none that a browser opens."""
    parts = urlsplit(settings.tracking_uri)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return ""
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"


def version_address(base: str, name: str, version: str) -> str:
    """Return the address of a registered version, empty without a base."""
    return f"{base}/#/models/{quote(name, safe='')}/versions/{quote(version, safe='')}" if base else ""


def run_address(base: str, experiment_id: str, run_id: str) -> str:
    """Return the address of a run, empty without a base."""
    if not (base and experiment_id and run_id):
        return ""
    return f"{base}/#/experiments/{quote(experiment_id, safe='')}/runs/{quote(run_id, safe='')}"
