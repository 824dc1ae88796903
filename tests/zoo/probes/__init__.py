"""What every model of the zoo is asked; importing it costs nothing, the models are made elsewhere."""

from __future__ import annotations

from tests.zoo.probes import answers, libraries, signatures, types

ENTRIES = (*libraries.ENTRIES, *types.ENTRIES, *signatures.ENTRIES, *answers.ENTRIES)

__all__ = ["ENTRIES"]
