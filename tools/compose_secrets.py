"""Write the secrets that docker-compose.yml needs into `.env`: random ones, and only those that are not set.

Runs on the system's Python, so it uses the standard library only. A secret in the environment or in `.env` is
kept: the database keeps the password that it was created with.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES = ("POSTGRES_PASSWORD", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY")
BYTES = 20  # of randomness in each
ENV_FILE = Path(__file__).resolve().parent.parent / ".env"


def main(file: Path = ENV_FILE) -> int:
    """Add what is missing to the file, and say which names; never a value."""
    added = add_missing(file, os.environ)
    if added:
        names = ", ".join(added)
        sys.stderr.write(f"Random values for {names} were added to {file.name}. Keep that file.\n")
    return 0


def add_missing(file: Path, environ: Mapping[str, str]) -> list[str]:
    """Return the names that neither `environ` nor `file` had; the file has them now.

    Only its owner can read it afterwards.
    """
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    present = set(re.findall(r"^[ \t]*(?:export[ \t]+)?(\w+)[ \t]*=[ \t]*\S", text, flags=re.MULTILINE))
    missing = [name for name in NAMES if not environ.get(name) and name not in present]
    if not missing:
        return []
    lines = "".join(f"{name}={secrets.token_hex(BYTES)}\n" for name in missing)
    before = "" if not text or text.endswith("\n") else "\n"
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "a", encoding="utf-8") as opened:
        os.fchmod(descriptor, file.stat().st_mode & 0o700)
        opened.write(f"{before}{lines}")
    return missing


if __name__ == "__main__":
    sys.exit(main())
