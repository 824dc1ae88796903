"""A program that plays `nvidia-smi`, for machines without GPUs: what it prints is in files beside it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FIRST = "GPU-11111111-aaaa-bbbb-cccc-000000000001"
SECOND = "GPU-22222222-aaaa-bbbb-cccc-000000000002"
MIB = 2**20

_PROGRAM = """#!{python} -I
import sys, time
from pathlib import Path
here = Path(__file__).parent
first = sys.argv[1]
name = "list" if first == "-L" else "memory" if first.startswith("--query-gpu=") else "processes"
with open(here / "asked", "a") as asked:
    asked.write(name + "\\n")
time.sleep(float((here / "seconds").read_text()))
sys.stdout.write((here / name).read_text())
sys.exit(int((here / "status").read_text()))
"""


class PlayedGpus:
    """A folder with the program, to be put first on PATH."""

    def __init__(self, folder: Path, *uuids: str, mebibytes: int = 16_000) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._mebibytes = mebibytes
        self._uuids = uuids
        program = folder / "nvidia-smi"
        program.write_text(_PROGRAM.format(python=sys.executable))
        program.chmod(0o755)
        lines = [f"GPU {number}: NVIDIA Played 16GB (UUID: {uuid})" for number, uuid in enumerate(uuids)]
        self.write("list", "".join(f"{line}\n" for line in lines))
        self.write("status", "0")
        self.write("seconds", "0")
        self.use_memory({})
        self.use_by_process({})

    def write(self, name: str, text: str) -> None:
        """Set what is printed, or the exit status, or the seconds until then."""
        (self.folder / name).write_text(text)

    def use_memory(self, used: Mapping[str, int]) -> None:
        """Have devices report used memory, in MiB."""
        lines = [f"{uuid}, {self._mebibytes}, {used.get(uuid, 0)}" for uuid in self._uuids]
        self.write("memory", "".join(f"{line}\n" for line in lines))

    def use_by_process(self, used: Mapping[int, int]) -> None:
        """Have processes use device memory, in MiB by process id."""
        self.write("processes", "".join(f"{pid}, {size}\n" for pid, size in used.items()))

    def asked(self) -> list[str]:
        """Return what was asked so far: list, memory or processes."""
        file = self.folder / "asked"
        return file.read_text().split() if file.exists() else []

    def path(self, others: str) -> str:
        """Return a PATH with this program first."""
        return f"{self.folder}:{others}"
