"""The gateway's metrics; nothing here knows HTTP."""
