"""A script that leases the environment of one version, reports it and holds it until it is released.

Standard input: one JSON line `{"settings": …, "requirements": …, "folder": …}`, then a line to release it.
Standard output: `open` when the folder of environments is open, then the digest.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from gateway.environments.environments import BUILDS
from gateway.environments.factory import create_environments
from gateway.environments.recipe import RecipeFiles
from gateway.settings import load
from tests.gateway.environments.conftest import VersionFolder, version
from workers.metrics import Counters


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def main() -> None:
    """Do what the standard input says."""
    request = json.loads(sys.stdin.readline())
    files = RecipeFiles(requirements=request["requirements"].encode())
    source, counters = VersionFolder(Path(request["folder"]), {"wine": files}), Counters()
    environments = create_environments(load(request["settings"]), source, counters=counters)
    await environments.open()
    say("open")
    async with environments.lease(version()) as environment:
        assert environment is not None
        say(json.dumps([environment.digest, counters.value(BUILDS, "ok")]))
        await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(main())
