"""The template has no thread that a fork would lose, and what it imports works in the fork."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FORKS = """
import os, sys
from pathlib import Path

def threads():
    names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    return sum(name != "jemalloc_bg_thd" for name in names)

import numpy, scipy.linalg  # each brings its own OpenBLAS, which knows forks
before = threads()
import workers.preload
from tests.workers.codec.tabular import arrow, parquet_file
from tests.workers.codec.plans import column, plan
from workers.codec import bodies
from workers.messages import ARROW, CSV, PARQUET, Job
import pyarrow as pa
from mlflow.types.schema import DataType
print("threads", threads() - before)
table = pa.table({"x": [1.5, 2.5] * 10_000, "y": ["a", "b"] * 10_000})
sent = [(arrow(table, compression="zstd"), ARROW), (b"x,y\\n1.5,a\\n", CSV)]
for child in range(8):
    if os.fork() == 0:
        sent.append((parquet_file(table), PARQUET))
        for body, media_type in sent:
            bodies.read(Job(body, media_type), plan(None))
        bodies.read(Job(sent[-1][0], PARQUET), plan(None, checks="mlflow"))
        os._exit(0)
print("ended", [os.wait()[1] for child in range(8)])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_tables_are_read_after_a_fork() -> None:
    """No thread but OpenBLAS' and an allocator's, which know forks; eight forks read every format and end."""
    done = subprocess.run(
        [sys.executable, "-c", FORKS],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines() == ["threads 0", f"ended {[0] * 8}"], done.stderr[-2000:]
