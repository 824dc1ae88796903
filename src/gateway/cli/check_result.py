"""What `gateway check` prints of one thing that it tried."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check, with a fix if it failed."""

    subject: str
    ok: bool
    text: str
    fix: str = ""

    def __str__(self) -> str:
        """Return the result as a line, and the fix as another."""
        line = f"{self.subject:16} {'OK' if self.ok else 'failed':7} {self.text}"
        return f"{line}\n{'':24} fix: {self.fix}" if self.fix else line
