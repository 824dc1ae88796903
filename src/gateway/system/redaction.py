"""Hides the secrets that addresses have in texts of other programs, before these are logged."""

from __future__ import annotations

import re
from typing import Final

_HIDDEN: Final = "***"
_USER: Final = re.compile(r"(?<=://)[^/\s'\"<>]*@")
_QUERY: Final = re.compile(r"(://[^\s?'\"<>]*\?)[^\s'\"<>]+")


def redact_urls(text: str) -> str:
    """Return the text with `***` in place of users with passwords and of queries, which may be signed."""
    return _QUERY.sub(rf"\1{_HIDDEN}", _USER.sub(f"{_HIDDEN}@", text))
