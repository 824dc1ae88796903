"""What the fork server preloads starts no thread that a fork would lose, and works in a fork."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, sys
from pathlib import Path

def threads():
    names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    return sum(name != "jemalloc_bg_thd" for name in names)

import numpy, scipy.linalg  # each brings its own OpenBLAS, which handles forks
before = threads()
import workers.runtime.preload.full
from workers.codec import formats
from workers.codec.signature import InputSpec
from workers.protocol.messages import ARROW, CSV, PARQUET, Job
import pyarrow as pa, pyarrow.ipc, pyarrow.parquet
from mlflow.models import Model
print("threads", threads() - before)
table = pa.table({"x": [1.5, 2.5] * 10_000, "y": ["a", "b"] * 10_000})
arrow = pa.BufferOutputStream()
with pa.ipc.new_stream(arrow, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
    writer.write_table(table)
bodies = [(arrow.getvalue().to_pybytes(), ARROW), (b"x,y\\n1.5,a\\n", CSV)]
strict, mlflow = (InputSpec.from_model(Model(), input_checks=checks) for checks in ("strict", "mlflow"))
for child in range(8):
    if os.fork() == 0:
        parquet = pa.BufferOutputStream()
        pa.parquet.write_table(table, parquet)
        bodies.append((parquet.getvalue().to_pybytes(), PARQUET))
        for body, media_type in bodies:
            assert len(formats.decode(Job(body, media_type), strict).data)
        formats.decode(Job(bodies[-1][0], PARQUET), mlflow)
        os._exit(0)
print("exit statuses", [os.wait()[1] for child in range(8)])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_tables_are_decoded_after_a_fork() -> None:
    """Only OpenBLAS and an allocator, which handle forks, have threads; eight forks decode every format."""
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert process.stdout.splitlines() == ["threads 0", f"exit statuses {[0] * 8}"], process.stderr[-2000:]
