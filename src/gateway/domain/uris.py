"""What of an address may be shown."""

from __future__ import annotations

import re
from typing import Final

_PASSWORD: Final = re.compile(r"//([^/:@\s]*):[^/\s]*@")


def strip_password(uri: str) -> str:
    """The same without a password before its host; the user stays, a part of some stores' addresses."""
    return _PASSWORD.sub(r"//\1@", uri)
