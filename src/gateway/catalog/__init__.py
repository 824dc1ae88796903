"""Resolves a `ModelRef` to a `ModelVersion`; code after this package never sees `latest` or `best`."""

from gateway.catalog.catalog import Catalog

__all__ = ["Catalog"]
