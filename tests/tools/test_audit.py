"""`make audit` names what is vulnerable, and fails where it cannot know."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.vulnerability_database import vulnerability_database
from tools import audit

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-audit" / "bin" / "python"
OLD_JINJA = {("jinja2", "2.10"): "PYSEC-2019-217"}
LOCK = """# a lock file
sampleone==1.0 ; sys_platform == 'darwin' \\
    --hash=sha256:00
twice==1.0 ; python_full_version < '3.12' \\
    --hash=sha256:01
twice==2.0 ; python_full_version >= '3.12' \\
    --hash=sha256:02
"""
needs_pip_audit = pytest.mark.skipif(
    not PYTHON.exists(), reason="there is no .venv-audit; `make sbom` makes it"
)


@pytest.fixture
def locks(tmp_path: Path) -> Path:
    """A folder with two lock files."""
    (tmp_path / "requirements.lock").write_text(LOCK)
    (tmp_path / "requirements-other.lock").write_text("sampleone==1.0 \\\n    --hash=sha256:00\n")
    return tmp_path


def run_audit(locks: Path, address: str) -> subprocess.CompletedProcess[str]:
    """Run the program as `make audit` does, on these lock files and this database."""
    command = [str(PYTHON), str(ROOT / "tools" / "audit.py"), "--root", str(locks)]
    command += ["--vulnerability-service", "osv", "--osv-url", address]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@needs_pip_audit
@pytest.mark.slow
def test_nothing_known_is_success(locks: Path) -> None:
    """Every version is looked up, also those of other platforms, and two of one package."""
    with vulnerability_database(OLD_JINJA) as address:
        done = run_audit(locks, address)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "3 versions looked up, 0 with known vulnerabilities\n"


@needs_pip_audit
@pytest.mark.slow
@pytest.mark.parametrize("pin", [("sampleone", "1.0"), ("twice", "2.0")])
def test_a_vulnerable_version_fails_with_its_lock_files(locks: Path, pin: tuple[str, str]) -> None:
    """The line has the id and every lock file with that version."""
    with vulnerability_database(OLD_JINJA | {pin: "PYSEC-0000-1"}) as address:
        done = run_audit(locks, address)
    assert done.returncode == 1
    assert f"{pin[0]}=={pin[1]}: PYSEC-0000-1  (requirements" in done.stdout
    assert ("requirements-other.lock" in done.stdout) == (pin[0] == "sampleone")


@needs_pip_audit
@pytest.mark.slow
def test_a_database_that_knows_nothing_fails(locks: Path) -> None:
    """A database without the known vulnerability is empty or another one: nothing was audited."""
    with vulnerability_database({}) as address:
        done = run_audit(locks, address)
    assert done.returncode == 2
    assert "nothing was audited" in done.stderr
    assert "jinja2==2.10" in done.stderr


@needs_pip_audit
@pytest.mark.slow
def test_a_database_that_is_away_or_broken_fails(locks: Path) -> None:
    """An error is no answer."""
    with vulnerability_database(OLD_JINJA, status=503) as address:
        assert run_audit(locks, address).returncode == 2
    done = run_audit(locks, address)  # closed by now
    assert done.returncode == 2
    assert "nothing was audited" in done.stderr


def test_a_version_that_was_skipped_or_forgotten_fails() -> None:
    """pip-audit skips what its database does not know, and calls that a success."""
    some = [audit.Pin("one", "1.0"), audit.Pin("two", "1.0")]
    one = {"name": "one", "version": "1.0", "vulns": []}
    with pytest.raises(audit.Unavailable, match="unknown there"):
        audit.read(some, [one, {"name": "two", "skip_reason": "unknown there"}])
    with pytest.raises(audit.Unavailable, match="no answer about two==1"):
        audit.read(some, [one])


def test_every_entry_of_every_lock_is_looked_up() -> None:
    """No line that names a version is overlooked, and no round has a package twice."""
    where = audit.pins(ROOT)
    lines = [line for lock in ROOT.glob("requirements*.lock") for line in lock.read_text().splitlines()]
    assert sum(map(len, where.values())) == sum(line[:1].isalnum() for line in lines)
    rounds = audit.rounds(where)
    assert sorted(pin for some in rounds for pin in some) == sorted(where)
    assert all(len({pin.name for pin in some}) == len(some) for some in rounds)
