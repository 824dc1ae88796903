"""Proves how a version's requirements.txt is parsed and checked."""

from __future__ import annotations

from importlib import metadata

import pytest

from gateway.domain import requirements

AIOHTTP = metadata.version("aiohttp")


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
    assert requirements.parse_requirements(data) == (
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
    assert requirements.parse_requirements(data) == (line,)


def test_a_file_that_is_not_utf8_is_parsed() -> None:
    """Invalid bytes are replaced."""
    assert requirements.parse_requirements(b"caf\xe9==1\n") == ("caf\ufffd==1",)
    assert requirements.parse_requirements(b"\xef\xbb\xbfnumpy\r\n") == ("numpy",)  # a byte order mark


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
    assert requirements.find_missing((line,)) == ()


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
    ],
)
def test_a_missing_requirement(line: str) -> None:
    """Not installed, installed in another version, or without a name and version to check."""
    assert requirements.find_missing((line,)) == (line,)


def test_the_install_hint() -> None:
    """It has a command to paste into a shell; a long list is shortened."""
    assert requirements.install_hint(()) == ""
    assert requirements.install_hint(("a==1", "b>=2")).endswith("to install them: pip install a==1 'b>=2'")
    assert "and 5 more" in requirements.install_hint(tuple(f"p{number}" for number in range(15)))
