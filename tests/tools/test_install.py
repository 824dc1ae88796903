"""Packages are installed from wheels: nothing is built, and so nothing is fetched that no lock file fixes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "sampleone"
version = "1.0"
"""
BACKEND = """
import os, pathlib, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    pathlib.Path(os.environ["BUILT"]).touch()
    with zipfile.ZipFile(pathlib.Path(folder, "sampleone-1.0-py3-none-any.whl"), "w") as wheel:
        info = "sampleone-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: sampleone\\nVersion: 1.0\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return "sampleone-1.0-py3-none-any.whl"
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """A lock file with one package, which exists only as a source distribution."""
    top = tmp_path / "sampleone-1.0"
    top.mkdir()
    (top / "pyproject.toml").write_text(PYPROJECT)
    (top / "backend.py").write_text(BACKEND)
    (top / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: sampleone\nVersion: 1.0\n")
    archive = tmp_path / "sampleone-1.0.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(top, arcname=top.name)
    lock = tmp_path / "requirements.lock"
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    lock.write_text(f"sampleone==1.0 \\\n    --hash=sha256:{digest}\n")
    return lock


@pytest.mark.slow
def test_nothing_is_built_unless_asked_for(lock: Path) -> None:
    """A package without a wheel fails to install before any of its code runs; `--sources` builds it."""
    built = lock.parent / "built"
    done = run_install(lock, built)
    assert done.returncode != 0
    assert not built.exists()
    assert run_install(lock, built, "--sources").returncode == 0
    assert built.exists()


def run_install(lock: Path, built: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Install with pip alone, without an index."""
    command = [sys.executable, str(ROOT / "tools" / "install.py"), str(lock), "--no-project", "--no-uv"]
    command += ["--venv", str(lock.parent / "venv"), *options]
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(lock.parent), "BUILT": str(built)}
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
