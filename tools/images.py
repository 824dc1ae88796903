"""The images that the containers start from: each is named with the digest of its content.

`make check` names those that have none yet, and passes. `make upgrade` writes the digests of today, as the
local docker command receives them from the images' registry.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
FILES = ("Dockerfile", "docker-compose.yml")
# `ARG X_IMAGE=name:tag` and `${X_IMAGE:-name:tag}`, with or without a digest
REFERENCE = re.compile(r"(_IMAGE(?:=|:-))([\w./:-]+:[\w.-]+)(@sha256:[0-9a-f]{64})?")
DIGEST = re.compile(r"^Digest: (sha256:[0-9a-f]{64})$", re.MULTILINE)


class Unavailable(Exception):
    """The digest of an image cannot be found out; the message says why."""


def main() -> int:
    """Check the files, or write the digests; 1 if one could not be found out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="write the digests of today")
    parser.add_argument("--root", type=Path, default=ROOT, help="the folder of the files")
    wanted = parser.parse_args()
    if wanted.upgrade:
        return upgrade(wanted.root, pull)
    for file, image in without_digest(wanted.root):
        sys.stderr.write(
            f"{file}: {image} has no digest: run `make upgrade` where its registry can be reached\n"
        )
    return 0


def without_digest(root: Path) -> list[tuple[str, str]]:
    """Return each file and image that a tag alone names, whose content may change."""
    found = [(file, match) for file in FILES for match in REFERENCE.finditer((root / file).read_text())]
    return [(file, match[2]) for file, match in found if not match[3]]


def upgrade(root: Path, ask: Callable[[str], str]) -> int:
    """Write today's digest behind every image's name; an image that cannot be asked for stays as it is."""
    texts = {file: (root / file).read_text() for file in FILES}
    digests, status = {}, 0
    for image in sorted({match[2] for text in texts.values() for match in REFERENCE.finditer(text)}):
        try:
            digests[image] = ask(image)
        except Unavailable as error:
            sys.stderr.write(f"{image}: no digest, nothing was changed: {error}\n")
            status = 1
        else:
            sys.stdout.write(f"{image} is {digests[image]}\n")
    for file, text in texts.items():
        (root / file).write_text(REFERENCE.sub(lambda match: _pinned(match, digests), text))
    return status


def _pinned(match: re.Match[str], digests: dict[str, str]) -> str:
    image = match[2]
    return f"{match[1]}{image}@{digests[image]}" if image in digests else match[0]


def pull(image: str) -> str:
    """Return the digest that the image's tag has in its registry, by pulling the image; raise Unavailable."""
    try:
        done = subprocess.run(["docker", "pull", image], check=False, capture_output=True, text=True)  # noqa: S607  # the developer's own docker
    except FileNotFoundError:
        raise Unavailable("the command `docker` is not installed") from None
    digest = DIGEST.search(done.stdout)
    if done.returncode or digest is None:
        raise Unavailable((done.stderr.strip() or "docker pull names no digest").splitlines()[-1])
    return digest[1]


if __name__ == "__main__":
    sys.exit(main())
