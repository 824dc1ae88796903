"""The checks of one client's script: each a function, run in order, told as JSON on the last line.

Runs in the clients' environment, so it uses the standard library only.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import traceback
from collections.abc import Callable
from typing import Any

Check = Callable[[Any], Any]
_checks: list[Check] = []


def check(function: Check) -> Check:
    """Have `function` run by `main`, with the client; it asserts."""
    _checks.append(function)
    return function


def main(connect: Callable[[str], Any]) -> None:
    """Run every check against the gateway whose address is the first argument."""
    asyncio.run(_run(connect))


async def _run(connect: Callable[[str], Any]) -> None:
    client = connect(sys.argv[1])
    found: dict[str, str] = {}
    for function in _checks:
        try:
            made = function(client)
            if inspect.isawaitable(made):
                await made
        except Exception:  # noqa: BLE001 - the test that started the script reads it
            found[function.__name__] = traceback.format_exc()[-1500:]
        else:
            found[function.__name__] = "ok"
    print(json.dumps(found))  # noqa: T201 - the test reads it
