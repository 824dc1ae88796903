"""What tests measure on the way, for people: a line of JSON each in the file GATEWAY_TEST_FIGURES names."""

from __future__ import annotations

import json
import os
from pathlib import Path


def note(fault: str, **figures: float) -> None:
    """Write down what was measured of a fault (times in seconds); nothing where nobody asked for it."""
    if file := os.environ.get("GATEWAY_TEST_FIGURES"):
        rounded = {name: round(value, 3) for name, value in figures.items()}
        with Path(file).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"fault": fault, **rounded}) + "\n")
