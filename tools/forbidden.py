"""Finds what no tracked file may hold: paths of one machine, registry addresses, work left open."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# each pattern is written so that it does not find itself
FORBIDDEN = {
    "a path of one machine": re.compile(r"(?<![\w.])/(?:root|work|home/\w+|Users/\w+)/(?=\w)"),
    "a registry's address": re.compile(r"pypi[.]org|pythonhosted[.]org|registry[.]npmjs|/[s]imple/"),
    "work left open": re.compile(r"\b(?:TO[D]O|FIX[M]E|X[X]X|NotImplemented[E]rror)\b"),
    "a shell's command line": re.compile(r"shell\s*=\s*[T]rue"),
}


def main() -> int:
    """Print every place; 1 where there is any."""
    places = [place for file in tracked() for place in found(file)]
    sys.stderr.write("".join(f"{place}\n" for place in places))
    return 1 if places else 0


def tracked() -> list[Path]:
    """Every file that is, or is about to be, in the repository."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def found(file: Path) -> list[str]:
    """What one file holds of it, as `file:line: what`; files that are no text hold nothing."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []
    return [
        f"{file.relative_to(ROOT)}:{number}: {what}"
        for number, line in enumerate(lines, 1)
        for what, pattern in FORBIDDEN.items()
        if pattern.search(line)
    ]


if __name__ == "__main__":
    sys.exit(main())
