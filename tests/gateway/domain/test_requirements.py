"""Proves what is told of a version's requirements.txt."""

from __future__ import annotations

from importlib import metadata

import pytest

from gateway.domain import requirements

AIOHTTP = metadata.version("aiohttp")


def test_lines_that_name_packages() -> None:
    """Comments, blank lines and options are left out, continuation lines joined, hashes cut."""
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
    ("data", "shown"),
    [
        (b"pkg @ https://user:secret@host/x.whl", "pkg @ https://host/x.whl"),
        (b"git+ssh://git:secret@host/x.git#egg=x", "git+ssh://host/x.git#egg=x"),
        (b"./wheels/x.whl", "./wheels/x.whl"),
    ],
)
def test_no_credentials_are_shown(data: bytes, shown: str) -> None:
    """An address keeps its host and loses its user and password."""
    assert requirements.parse_requirements(data) == (shown,)


def test_bytes_that_are_no_text() -> None:
    """A file that is not UTF-8 is still read."""
    assert requirements.parse_requirements(b"caf\xe9==1\n") == ("caf\ufffd==1",)


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
        "nobody-has-this; sys_platform == 'nowhere'",
    ],
)
def test_what_is_satisfied(line: str) -> None:
    """Names are compared as packaging does; another platform's requirement is not missing here."""
    assert requirements.find_missing((line,)) == ()


@pytest.mark.parametrize(
    "line",
    [
        "aiohttp<1",
        "aiohttp==1.2.3",
        f"aiohttp>={AIOHTTP},!={AIOHTTP}",
        "nobody-has-this",
        "git+https://host/x.git",
        "./x.whl",
        "a b c",
        "aiohttp==1; nonsense == 'x'",
    ],
)
def test_what_is_missing(line: str) -> None:
    """Absent, of another version, or not a requirement that anything here could tell of."""
    assert requirements.find_missing((line,)) == (line,)


def test_what_would_help() -> None:
    """The command can be pasted; a long list is cut, and says so."""
    assert requirements.install_hint(()) == ""
    assert requirements.install_hint(("a==1", "b>=2")).endswith("to install them: pip install a==1 'b>=2'")
    assert "and 5 more" in requirements.install_hint(tuple(f"p{number}" for number in range(15)))
