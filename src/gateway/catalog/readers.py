"""The readers that all version sources of a catalog share; they keep what they read between lookups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.catalog.metrics import MetricReader
    from gateway.catalog.run_folders import RunFolders
    from gateway.catalog.run_reader import RunReader


@dataclass(frozen=True, slots=True)
class Readers:
    """Readers of an experiment's runs, of metrics, and of models among runs' artifacts."""

    runs: RunReader
    metrics: MetricReader
    folders: RunFolders
