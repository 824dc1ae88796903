"""What the demo prints once its gateway answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cli.demo.callers import call_hints
from gateway.cli.demo.examples import example_calls

if TYPE_CHECKING:
    from gateway.settings import Settings


def ready_text(base: str, settings: Settings) -> str:
    """Return the address to open in a browser, two calls to try, and what curl needs beside them."""
    parts = [_page(base, settings)]
    parts += [f"# {hint}" for hint in call_hints(settings)]
    parts += [f"# {call.what}\n{call.command}\n# … {call.answer} …" for call in example_calls(base)]
    return "\n\n".join(["", *parts, "To stop: Ctrl-C\n"])


def _page(base: str, settings: Settings) -> str:
    if settings.console == "off":
        return f"    Open {base}/docs in a browser: every call, to read and to try"
    return f"    Open {base}/ in a browser: every model, to see and to try"
