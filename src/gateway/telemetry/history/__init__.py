"""The figures of the last 15 minutes, for the console page."""

from gateway.telemetry.history.history import History

__all__ = ["History"]
