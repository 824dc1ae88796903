"""`make sbom` names every locked package of both images, with its hashes, and always in the same bytes."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
IMAGES = {"gateway": "requirements.lock", "mlflow-server": "requirements-mlflow-server.lock"}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (ROOT / ".venv-audit").exists(), reason="there is no .venv-audit; `make sbom` makes it"
    ),
]


def sbom(folder: Path, *options: str) -> dict[str, bytes]:
    """Return what `make sbom` writes for each image."""
    command = ["make", "--no-print-directory", "sbom", f"DIST={folder}", *options]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    return {image: (folder / f"{image}.cdx.json").read_bytes() for image in IMAGES}


def test_two_runs_write_the_same_and_all_of_it(tmp_path: Path) -> None:
    """No time or random number is in the files; each entry of the lock file is, with version and hashes."""
    first = sbom(tmp_path / "first")
    assert first == sbom(tmp_path / "second", "VALIDATE=--no-validate")
    for image, lock in IMAGES.items():
        components = json.loads(first[image])["components"]
        named = [f"{component['name']}=={component['version']}" for component in components]
        locked = re.findall(r"^[\w.-]+==[\w.]+", (ROOT / lock).read_text(), flags=re.MULTILINE)
        assert sorted(named) == sorted(locked)
        assert all(component["externalReferences"][0]["hashes"] for component in components)
