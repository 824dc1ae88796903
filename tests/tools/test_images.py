"""The images that containers start from get digests, and none is overlooked."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import images

ROOT = Path(__file__).resolve().parents[2]
PYTHON, POSTGRES = "sha256:" + "1" * 64, "sha256:" + "2" * 64


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with copies of the project's files, as if none had a digest yet."""
    for name in images.FILES:
        (tmp_path / name).write_text(re.sub("@sha256:[0-9a-f]{64}", "", (ROOT / name).read_text()))
    return tmp_path


def ask(image: str) -> str:
    """Answer for two of the images."""
    if image.startswith("python:"):
        return PYTHON
    if image.startswith("postgres:"):
        return POSTGRES
    raise images.Unavailable("of a test")


def run_images(root: Path, *arguments: str, path: str) -> subprocess.CompletedProcess[str]:
    """Run the program with this PATH."""
    command = [sys.executable, str(ROOT / "tools" / "images.py"), "--root", str(root), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, env={"PATH": path})


def test_digests_are_written_and_replaced(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A new digest comes behind the tag, or in place of an old one; nothing else in the files changes."""
    before = [(files / name).read_text() for name in images.FILES]
    assert images.upgrade(files, lambda _: "sha256:" + "f" * 64) == 0
    assert images.without_digest(files) == []
    assert images.upgrade(files, ask) == 1
    after = [(files / name).read_text() for name in images.FILES]
    assert f"PYTHON_IMAGE=python:3.11-slim-bookworm@{PYTHON}\n" in after[0]
    assert f":-postgres:16@{POSTGRES}}}" in after[1]
    assert [re.sub("@sha256:[0-9a-f]{64}", "", text) for text in after] == before
    assert "chrislusf/seaweedfs:4.48: no digest, nothing was changed: of a test" in capsys.readouterr().err


def test_without_a_registry_the_files_stay_and_the_status_is_1(files: Path, tmp_path: Path) -> None:
    """Without docker nothing is changed, and each image is named with the reason."""
    before = [(files / name).read_text() for name in images.FILES]
    done = run_images(files, "--upgrade", path=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.count("no digest, nothing was changed: the command `docker` is not installed") == 3
    assert [(files / name).read_text() for name in images.FILES] == before


@pytest.mark.skipif(not shutil.which("docker"), reason="the docker command is missing")
def test_an_engine_that_does_not_answer_is_no_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is Docker's own."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    with pytest.raises(images.Unavailable, match=r"127\.0\.0\.1:9"):
        images.pull("python:3.11-slim-bookworm")


def test_the_check_names_tags_and_passes(files: Path) -> None:
    """A checkout that has never seen a registry passes its checks, and says what is missing."""
    done = run_images(files, path="")
    assert done.returncode == 0
    assert "Dockerfile: python:3.11-slim-bookworm has no digest" in done.stderr
    assert done.stderr.count("has no digest") == 3


def test_no_image_is_named_in_another_way() -> None:
    """Each image that the files start from is one that the tool finds, a stage, or built here."""
    dockerfile, compose = ((ROOT / name).read_text() for name in images.FILES)
    assert set(re.findall(r"^FROM (\S+)", dockerfile, flags=re.MULTILINE)) == {"${PYTHON_IMAGE}", "base"}
    used = set(re.findall(r"^ +image: (\S+)", compose, flags=re.MULTILINE))
    found = {image for image in used if images.REFERENCE.search(image)}
    assert found
    assert all(image.startswith("model-invocation-endpoint") for image in used - found)
