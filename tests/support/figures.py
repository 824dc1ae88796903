"""Write what tests measure to the file that GATEWAY_TEST_FIGURES names, one JSON line a measurement."""

from __future__ import annotations

import json
import os
from pathlib import Path


def note(fault: str, **figures: float) -> None:
    """Write the figures of a fault, times in seconds. Do nothing if GATEWAY_TEST_FIGURES is not set."""
    if file := os.environ.get("GATEWAY_TEST_FIGURES"):
        rounded = {name: round(value, 3) for name, value in figures.items()}
        with Path(file).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"fault": fault, **rounded}) + "\n")
