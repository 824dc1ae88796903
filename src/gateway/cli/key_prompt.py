"""The prompt for an API key, which does not repeat it; or standard input, for a script."""

from __future__ import annotations

import getpass
import sys
from typing import Final

_MAX_INPUT: Final = 4096  # characters of standard input that may be a key
_EXIT_NO_KEY: Final = 1
_EXIT_INTERRUPTED: Final = 130  # as a shell has it: 128 and the number of SIGINT


class NoKeyTyped(Exception):
    """Input ended before there was a key; `status` is what the command exits with."""

    def __init__(self, reason: str, *, status: int) -> None:
        super().__init__(f"gateway: no key was checked: {reason}")
        self.status = status


def read_key() -> str:
    """Return what a person types or a script pipes in, which may be empty; raise NoKeyTyped."""
    is_terminal = sys.stdin.isatty()
    try:
        if is_terminal:
            return getpass.getpass("API key (empty: only the file): ").strip()
        return sys.stdin.readline(_MAX_INPUT).strip()
    except EOFError:
        reason, status = "the input ended", _EXIT_NO_KEY
    except KeyboardInterrupt:
        reason, status = "interrupted", _EXIT_INTERRUPTED
    if is_terminal:
        sys.stderr.write("\n")  # the prompt's line has no end yet
    raise NoKeyTyped(reason, status=status)
