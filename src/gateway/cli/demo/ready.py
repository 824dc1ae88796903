"""What the demo prints once its gateway answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cli.demo.callers import call_hints
from gateway.cli.demo.examples import example_calls, request_loop
from gateway.cli.demo.nodes import RESTART_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.settings import Settings


def ready_text(base: str, settings: Settings, *, node_pids: Sequence[int] = ()) -> str:
    """Return the address to open in a browser, two calls to try, and what curl needs beside them.

    With nodes, also how to see that requests go on while one of them is killed.
    """
    parts = [_page(base, settings)]
    parts += [f"# {hint}" for hint in call_hints(settings)]
    parts += [f"# {call.what}\n{call.command}\n# … {call.answer} …" for call in example_calls(base)]
    if node_pids:
        parts += _nodes(base, settings, node_pids)
    return "\n\n".join(["", *parts, "To stop: Ctrl-C\n"])


def _nodes(base: str, settings: Settings, pids: Sequence[int]) -> Iterator[str]:
    """Yield what to do to kill a node while requests go on."""
    processes = " and ".join(str(pid) for pid in pids)
    text = f"# the models run on {len(pids)} nodes, the processes {processes}; ask again and again …"
    yield f"{text}\n{request_loop(base)}"
    yield (
        f"# … and kill one elsewhere: every request is answered, and after {RESTART_SECONDS:g} s "
        "it is started again\n"
        f"kill -9 {pids[0]}"
    )
    if settings.console != "off":
        yield f"    Open {base}/ui/gateway in a browser: the nodes, as they come and go"


def _page(base: str, settings: Settings) -> str:
    if settings.console == "off":
        return f"    Open {base}/docs in a browser: every call, to read and to try"
    return f"    Open {base}/ in a browser: every model, to see and to try"
