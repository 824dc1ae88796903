"""Find what no tracked file may hold: paths of one machine, registry addresses, open work, unclear words."""

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
# Words that hide the actor or need explaining; CONTRIBUTING.md says what to write instead.
UNCLEAR = re.compile(
    r"\b(?:who[e]ver|who[m]ever|nob[o]dy|someb[o]dy|everyb[o]dy"
    r"|(?:is|are|was|be) t[o]ld|be h[a]d|gives? w[a]y"
    r"|of o[u]rs|comes? to m[e]an|so m[a]ny|so o[f]ten)\b",
    re.IGNORECASE,
)
UNCLEAR_ALLOWED = ("CHANGELOG.md", "LICENSE", "requirements")  # history, a quotation, package names


def main() -> int:
    """Print every place; return 1 if there is any."""
    places = [place for file in tracked() for place in found(file)]
    sys.stderr.write("".join(f"{place}\n" for place in places))
    return 1 if places else 0


def tracked() -> list[Path]:
    """Return every file that is, or is about to be, in the repository."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def found(file: Path) -> list[str]:
    """Return what is wrong in one text file, as `file:line: what`; a binary file holds nothing."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []
    name = str(file.relative_to(ROOT))
    patterns = dict(FORBIDDEN)
    if not name.startswith(UNCLEAR_ALLOWED):
        patterns["an unclear word"] = UNCLEAR
    return [
        f"{name}:{number}: {what}: {match[0]}"
        for number, line in enumerate(lines, 1)
        for what, pattern in patterns.items()
        if (match := pattern.search(line))
    ]


if __name__ == "__main__":
    sys.exit(main())
