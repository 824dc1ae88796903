"""What a request does, as far as rights are concerned."""

from __future__ import annotations

from enum import Enum


class Action(Enum):
    """What a route does. Every route has one; `OPEN` needs no right, nor that a caller says who it is."""

    OPEN = "open"
    READ = "read"
    """List and describe models."""
    INVOKE = "invoke"
    """Have a model predict, which loads it."""
    MANAGE = "manage"
    """Load and unload models."""
    STATUS = "status"
    """See the gateway's own state: metrics and versions."""


GRANTED = (Action.READ, Action.INVOKE, Action.MANAGE, Action.STATUS)
"""The actions that grants name."""
