"""The text of a key or of a column's name, which is the same in every format of an answer."""

from __future__ import annotations

import datetime
import enum

import numpy as np

from workers.errors import ModelError


def key_to_text(key: object) -> str:
    """Return a key as text, as JSON libraries write keys that are not strings.

    Raises ModelError for an integer of more digits than Python writes.
    """
    if isinstance(key, np.generic | enum.Enum):
        key = key.item() if isinstance(key, np.generic) else key.value
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    if isinstance(key, datetime.date | datetime.time):
        return key.isoformat()
    try:
        return str(int(key)) if isinstance(key, int) else str(key)
    except ValueError:
        raise ModelError(
            "The model returned an integer of more digits than can be written.", exception="int"
        ) from None
