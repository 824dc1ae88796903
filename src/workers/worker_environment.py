"""Names the Python environment that a model version runs in."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class WorkerEnvironment:
    """A built environment: `digest` identifies it, `python` is the absolute path of its interpreter.

    `private` is for one whose packages came with a version and not from the operator's index: they may be
    written to read what others store. Then `model` is the folder of the only model that its fork server
    serves, and may read.
    """

    digest: str
    python: str
    private: bool = False
    model: str = ""

    def for_model(self, folder: str) -> WorkerEnvironment:
        """Return what a model with its files in this folder runs in."""
        return replace(self, model=folder) if self.private else self
