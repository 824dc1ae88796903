"""Proves how a version's requirements.txt is parsed and checked."""

from __future__ import annotations

import os
from importlib import metadata
from typing import TYPE_CHECKING

import pytest

from gateway.domain import requirements
from gateway.domain.requirements import InstalledPackages, Requirements

if TYPE_CHECKING:
    from pathlib import Path

AIOHTTP = metadata.version("aiohttp")
INSTALLED = InstalledPackages().versions()


def test_lines_that_name_packages() -> None:
    """Comments, blank lines, options and hashes are removed, and continuation lines are joined."""
    data = b"""
# a comment
mlflow==3.17.2  # trailing
  numpy>=2 ; python_version > '3'
--extra-index-url https://user:secret@host/index
-r other.txt
scikit-learn==1.9.1 \\
    --hash=sha256:00
"""
    assert requirements.parse_requirements(data).lines == (
        "mlflow==3.17.2",
        "numpy>=2 ; python_version > '3'",
        "scikit-learn==1.9.1",
    )


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"pkg @ https://user:secret@host/x.whl", "pkg @ https://host/x.whl"),
        (b"git+ssh://git:secret@host/x.git#egg=x", "git+ssh://host/x.git#egg=x"),
        (b"./wheels/x.whl", "./wheels/x.whl"),
    ],
)
def test_credentials_are_removed(data: bytes, line: str) -> None:
    """A URL keeps its host without user and password."""
    assert requirements.parse_requirements(data) == Requirements((line,))


def test_a_file_that_is_not_utf8_is_parsed() -> None:
    """Invalid bytes are replaced."""
    assert requirements.parse_requirements(b"caf\xe9==1\n").lines == ("caf\ufffd==1",)
    assert requirements.parse_requirements(b"\xef\xbb\xbfnumpy\r\n").lines == ("numpy",)  # a byte order mark


@pytest.mark.parametrize(
    "line",
    [
        "aiohttp",
        f"aiohttp=={AIOHTTP}",
        f"aiohttp=={AIOHTTP.partition('.')[0]}.0.1",
        f"aiohttp~={AIOHTTP.partition('.')[0]}.99",
        f"aiohttp=={AIOHTTP.partition('.')[0]}.*",
        "AioHTTP>=1",
        "aiohttp[speedups]>=1",
        "no-such-package; sys_platform == 'nowhere'",
    ],
)
def test_a_satisfied_requirement(line: str) -> None:
    """Names are normalized; a requirement for another platform is not missing here."""
    assert requirements.find_missing((line,), INSTALLED) == ()


@pytest.mark.parametrize(
    "line",
    [
        "aiohttp<1",
        "aiohttp==1.2.3",
        f"aiohttp>={AIOHTTP},!={AIOHTTP}",
        "no-such-package",
        "git+https://host/x.git",
        "./x.whl",
        "a b c",
        "aiohttp==1; nonsense == 'x'",
        "aiohttp; " + "(" * 3000 + "python_version > '3'" + ")" * 3000,
        "aiohttp; python_version ~= '3'",
        "aiohttp==" + "1" * 900,
        "aiohttp==1." + "1" * 5000,
        "aiohttp" + ",".join([">=1"] * 500),
    ],
)
def test_a_missing_requirement(line: str) -> None:
    """Not installed, installed in another version, without a name and version, or too odd to check."""
    assert requirements.find_missing((line,), INSTALLED) == (line,)


def test_the_install_hint() -> None:
    """It has a command to paste into a shell; a long list is shortened."""
    assert requirements.install_hint(()) == ""
    assert requirements.install_hint(("a==1", "b>=2")).endswith("to install them: pip install a==1 'b>=2'")
    assert "and 5 more" in requirements.install_hint(tuple(f"p{number}" for number in range(15)))
    assert requirements.install_hint((), truncated=True).endswith("too long to be checked as a whole.")
    assert "as a whole. Its requirements" in requirements.install_hint(("a==1",), truncated=True)


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"numpy>=1.123\n" * 70_000, requirements.MAX_LINES),
        (b"numpy>=1.123" + b" " * 115 + b"\n" + b"numpy>=1.123\n" * 70_000, requirements.MAX_LINES),
        ((b"numpy>=1.123" + b" " * 115 + b"\n") * 1000, requirements.MAX_BYTES // 128),
        (b"a" * (requirements.MAX_BYTES + 1), 0),
    ],
)
def test_a_long_file_is_cut(data: bytes, lines: int) -> None:
    """The first 2,000 lines of the first 64 KiB are kept, each whole, and it is said that there are more."""
    assert requirements.parse_requirements(data) == Requirements(("numpy>=1.123",) * lines, truncated=True)


def test_a_file_of_the_greatest_length_is_not_cut() -> None:
    """2,000 lines are complete."""
    assert not requirements.parse_requirements(b"numpy>=1\n" * requirements.MAX_LINES).truncated


def test_installed_packages_are_read_again_after_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same object comes back until a package is added to a folder on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    installed = InstalledPackages()
    before = installed.versions()
    assert installed.versions() is before
    assert requirements.find_missing(("brand-new==1.5",), before) == ("brand-new==1.5",)
    info = tmp_path / "Brand_New-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Brand_New\nVersion: 1.5\n")
    (tmp_path / "broken-1.dist-info").mkdir()
    os.utime(tmp_path, ns=(1, 1))  # another time, however coarse the file system's clock
    assert requirements.find_missing(("brand-new==1.5",), installed.versions()) == ()
