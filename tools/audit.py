"""Look up every version in the lock files in a database of known vulnerabilities: `make audit`.

pip-audit says "no known vulnerabilities" of packages that its database does not know. So an old version with
a known vulnerability is looked up first, and a version that could not be looked up is a failure.
The exit status is 0 if nothing is known, 1 if a vulnerability is, and 2 if the database could not be asked.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
ENTRY = re.compile(r"^([\w.-]+)==([\w.!+-]+)", re.MULTILINE)


class Pin(NamedTuple):
    """A package in one version."""

    name: str
    version: str


KNOWN_TO_BE_VULNERABLE = Pin("jinja2", "2.10")  # CVE-2019-10906


class Unavailable(Exception):
    """The database could not be asked, or does not know a package."""


def main() -> int:
    """Print each known vulnerability, with the lock files that have it. Further options go to pip-audit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="the folder of the lock files")
    wanted, options = parser.parse_known_args()
    where = pins(wanted.root)
    try:
        if not look_up([KNOWN_TO_BE_VULNERABLE], options)[KNOWN_TO_BE_VULNERABLE]:
            raise Unavailable("it knows no vulnerability of {}=={}".format(*KNOWN_TO_BE_VULNERABLE))
        found = {pin: known for some in rounds(where) for pin, known in look_up(some, options).items()}
    except Unavailable as error:
        sys.stderr.write(f"nothing was audited: the database of vulnerabilities is of no use here: {error}\n")
        return 2
    vulnerable = {pin: known for pin, known in found.items() if known}
    for pin, known in sorted(vulnerable.items()):
        sys.stdout.write(f"{pin.name}=={pin.version}: {', '.join(known)}  ({', '.join(where[pin])})\n")
    sys.stdout.write(f"{len(found)} versions looked up, {len(vulnerable)} with known vulnerabilities\n")
    return 1 if vulnerable else 0


def pins(root: Path) -> dict[Pin, list[str]]:
    """Return every version in the lock files, for whatever platform it is, and the files that have it."""
    where = defaultdict(list)
    for lock in sorted(root.glob("requirements*.lock")):
        for name, version in ENTRY.findall(lock.read_text()):
            where[Pin(name, version)].append(lock.name)
    return where


def rounds(where: dict[Pin, list[str]]) -> list[list[Pin]]:
    """Divide the versions into lists with at most one version of a package, which is what pip-audit takes."""
    versions = defaultdict(list)
    for pin in sorted(where):
        versions[pin.name].append(pin)
    most = max(map(len, versions.values()), default=0)
    return [[some[number] for some in versions.values() if len(some) > number] for number in range(most)]


def look_up(some: list[Pin], options: list[str]) -> dict[Pin, list[str]]:
    """Return the ids of the known vulnerabilities of each version; raise Unavailable."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("".join(f"{pin.name}=={pin.version}\n" for pin in some))
        file.flush()
        command = [sys.executable, "-m", "pip_audit", "--strict", "--disable-pip", "--no-deps"]
        command += ["--progress-spinner=off", "--format=json", f"--requirement={file.name}", *options]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    try:
        answers = json.loads(done.stdout)["dependencies"]
    except ValueError:
        raise Unavailable((done.stderr.strip() or f"status {done.returncode}").splitlines()[-1]) from None
    return read(some, answers)


def read(some: list[Pin], answers: list[dict[str, Any]]) -> dict[Pin, list[str]]:
    """Return the ids in pip-audit's answers; raise Unavailable if a version has no answer."""
    skipped = [answer["skip_reason"] for answer in answers if "skip_reason" in answer]
    if skipped:
        raise Unavailable("; ".join(skipped))
    found = {answer["name"]: [known["id"] for known in answer["vulns"]] for answer in answers}
    missing = [f"{pin.name}=={pin.version}" for pin in some if pin.name not in found]
    if missing:
        raise Unavailable(f"no answer about {', '.join(missing)}")
    return {pin: found[pin.name] for pin in some}


if __name__ == "__main__":
    sys.exit(main())
