"""`ModelRef → ModelVersion`: after this room nobody knows what `latest` or `best` was."""

from gateway.catalog.catalog import Catalog

__all__ = ["Catalog"]
