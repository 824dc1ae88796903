"""How the demo can fail to start."""

from __future__ import annotations


class DemoError(Exception):
    """The demo cannot go on; the text is for the person at the terminal."""
