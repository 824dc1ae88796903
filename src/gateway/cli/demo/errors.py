"""The error of the demo."""

from __future__ import annotations


class DemoError(Exception):
    """The demo cannot continue; the text is for the user at the terminal."""
