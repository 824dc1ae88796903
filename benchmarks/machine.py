"""What it was measured on and with: the machine, and the versions of every contender."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.contenders import Contender

_VERSIONS = """
import json, platform, sys
from importlib.metadata import version
print(json.dumps({"Python": platform.python_version(), **{name: version(name) for name in sys.argv[1:]}}))
"""


def described() -> str:
    """The processor, how many cores of it are ours, and the system."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{_processor()}, {cores} cores, {platform.system()} {platform.release()}"


def busy() -> str:
    """How busy others keep it."""
    return f"load average {os.getloadavg()[0]:.2f} before the run"


def versions(contenders: Iterable[Contender]) -> dict[str, dict[str, str]]:
    """By contender, the versions of Python and of the packages that matter to it."""
    return {one.name: _versions(one.python, one.packages) for one in contenders}


def _versions(python: Path, packages: tuple[str, ...]) -> dict[str, str]:
    command = [str(python), "-c", _VERSIONS, *packages]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, str] = json.loads(output)
    return found


def _processor() -> str:
    """The processor's model where Linux tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
