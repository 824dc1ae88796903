"""Proves which lines of a version's requirements pass: plain ones alone, however hostile the file is."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from gateway.environments.requirement_lines import RequirementLines, parse_strictly
from gateway.errors import EnvironmentRefused

HOSTILE = [
    "-e .", "-e git+https://example.org/x.git#egg=x", "--editable=/etc", "-r other.txt", "-r/etc/passwd",
    "--requirement=http://example.org/r.txt", "-c constraints.txt", "-i https://example.org", "--pre",
    "--index-url https://user:geheim@example.org/x", "--extra-index-url=https://geheim.example.org",
    "--find-links /", "-f https://example.org", "--no-binary :all:", "--no-index", "--trusted-host x.org",
    "--use-feature=fast-deps", "--config-settings x=y", "numpy --hash=sha256:00", "numpy --global-option=x",
    "numpy @ https://user:geheim@example.org/numpy.whl", "numpy@file:///etc/passwd", "git+ssh://git@example.org/x",
    "https://example.org/numpy-1.0-py3-none-any.whl", "file:///tmp/x.whl", "svn+http://example.org/x",
    "/srv/x.whl", "../x.whl", "wheels/../../x.whl", "./../x.whl", "~/x.whl", "wheels//x.whl", "C:\\x.whl",
    "wheels/x.whl[extra]", ".", "..", "./", "./package", "package/", "/", "x.tar.gz", "x.zip", "x.whl[y]",
    "$HOME/x.whl", "${SECRET}==1", "numpy==1; import os", "numpy;", "numpy==", "==1.0", "numpy==1.0 scipy==2",
    "numpy\x00==1", "numpy==1\x1b[31m", "nümpy==1", "\ufeff\ufeffnumpy", "num py", "numpy[", "numpy[extra",
    "@", "-", "--", "a" * 1001, "numpy==" + "9" * 2000, "x; " + "(" * 500 + "python_version>'3'" + ")" * 500,
]  # fmt: skip

PLAIN = {
    "numpy": "numpy",
    "numpy==1.26.4": "numpy==1.26.4",
    "  scikit-learn == 1.5.2  # logged": "scikit-learn==1.5.2",
    "torch==2.1.0+cpu": "torch==2.1.0+cpu",
    "pandas[parquet]>=2,<3": "pandas[parquet]<3,>=2",
    'uvloop==0.19; sys_platform != "win32"': 'uvloop==0.19; sys_platform != "win32"',
    "numpy \\\n ==1.0": "numpy==1.0",
}


@pytest.mark.parametrize("line", HOSTILE)
def test_what_is_no_plain_requirement_is_refused(line: str) -> None:
    """The error quotes the line, on one line, and shortly; a password in it is cut."""
    with pytest.raises(EnvironmentRefused, match=r"requirements\.txt") as caught:
        parse_strictly(f"{line}\n".encode(), file="requirements.txt")
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 400
    assert "geheim" not in message


@pytest.mark.parametrize(("line", "expected"), PLAIN.items())
def test_a_plain_requirement_passes(line: str, expected: str) -> None:
    """It is written in one form, so that equal requirements have equal recipes."""
    assert parse_strictly(line.encode(), file="requirements.txt").plain == (expected,)


@pytest.mark.parametrize(
    "line", ["mlflow==2.1", "MLflow", "mlflow-skinny>=2", "mlflow_tracing", "mlflow[extras]"]
)
def test_mlflow_itself_is_left_out(line: str) -> None:
    """Workers have the gateway's own MLflow."""
    assert parse_strictly(line.encode(), file="requirements.txt").plain == ()


@pytest.mark.parametrize("line", ["wheels/x-1-py3-none-any.whl", "./x-1-py3-none-any.whl"])
def test_a_wheel_in_the_versions_own_folder_passes(line: str) -> None:
    """Its path cannot lead out of the folder."""
    found = parse_strictly(line.encode(), file="requirements.txt")
    assert (found.plain, found.wheels) == ((), (line.removeprefix("./"),))


def test_a_file_that_is_too_long_is_refused() -> None:
    """A part of the requirements would make an environment that only seems right."""
    with pytest.raises(EnvironmentRefused, match="too long"):
        parse_strictly(b"numpy\n" * 20_000, file="requirements.txt")


@given(st.text(max_size=80) | st.from_regex(r"\A[-a-z@:/. =<>;\[\]~$\\]{0,30}\Z"))
def test_no_line_becomes_anything_but_a_requirement(text: str) -> None:
    """Whatever passes is one printable line that begins with a name, and has no address."""
    with suppress(EnvironmentRefused):
        check_passed(parse_strictly(text.encode("utf-8", "replace"), file="requirements.txt"))


def check_passed(found: RequirementLines) -> None:
    """Raise AssertionError if anything passed that is no plain requirement."""
    for line in found.plain:
        assert line.isascii()
        assert line.isprintable()
        assert line[0].isalnum()
        assert Requirement(line).url is None
    for path in found.wheels:
        assert path.endswith(".whl")
        assert ".." not in path.split("/")
        assert not path.startswith("/")
