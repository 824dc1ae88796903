"""What happened to models, workers and MLflow of late, for the console page."""

from gateway.telemetry.events.event import Event
from gateway.telemetry.events.event_log import EventLog, EventPage, advance

__all__ = ["Event", "EventLog", "EventPage", "advance"]
