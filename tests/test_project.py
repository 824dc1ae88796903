"""The project's own files agree with one another."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TARGETS = set(re.findall(r"^([a-z][a-z.-]*):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
MADE = {".venv/bin/gateway", ".venv/bin/pre-commit", ".env", "demo-data/", ".venv"}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", ".ci/run"])
def test_named_commands_exist(page: str) -> None:
    """Each `make` command that a page names is a target."""
    text = (ROOT / page).read_text()
    called = re.findall(r"(?:^|`|timed )make (?:-B |UV= )?([a-z][a-z.-]*)", text, flags=re.MULTILINE)
    assert called
    assert set(called) <= TARGETS


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/dependencies.md"])
def test_named_files_exist(page: str) -> None:
    """Each file or folder that a page names in code marks exists, from the top or in the tree below `src`."""
    named = re.findall(r"`([\w./-]+(?:\.(?:md|yml|toml|lock|template|py)|/))`", (ROOT / page).read_text())
    assert named
    unknown = [name for name in named if name not in MADE and not (ROOT / name).exists()]
    assert [name for name in unknown if "<" not in name and not any(ROOT.glob(f"src/**/{name}"))] == []


def test_each_dependency_is_justified() -> None:
    """`docs/dependencies.md` has a row for every dependency of pyproject.toml, and none for another."""
    parsed = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = [parsed["project"]["dependencies"], *parsed["project"]["optional-dependencies"].values()]
    groups += parsed["dependency-groups"].values()
    wanted = {re.split(r"[<>=!;\[ ]", line)[0] for group in groups for line in group if isinstance(line, str)}
    cells = re.findall(
        r"^\| ([\w., -]+?) \|", (ROOT / "docs/dependencies.md").read_text(), flags=re.MULTILINE
    )
    rows = {name for cell in cells for name in cell.split(", ")} - {"package"}
    assert rows == wanted


def test_every_lock_has_hashes_and_no_address() -> None:
    """Each requirement of each lock file is fixed to one version with hashes; no index is named."""
    locks = sorted(ROOT.glob("requirements*.lock"))
    assert len(locks) >= 4
    for lock in locks:
        lines = [line for line in lock.read_text().splitlines() if not line.startswith("#")]
        entries = [line for line in lines if not line.startswith(" ")]
        assert entries
        assert all(re.match(r"[\w.-]+==[\w.]+", entry) for entry in entries), lock.name
        assert all("--hash=sha256:" in line for line in lines if line.startswith(" "))
        assert "://" not in "".join(lines)


def test_hooks_run_what_check_runs() -> None:
    """Each command of `make check` is a commit hook too."""
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert recipe is not None
    commands = recipe[1].replace("$(PYTHON)", ".venv/bin/python").replace("$(VENV)", ".venv")
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert [line for line in commands.split("\n\t") if f"entry: {line.strip()}" not in hooks] == []


# What tells or uses the time of day, which may jump, and where that is right.
WALL_CLOCK = {
    "time.time",
    "time.time_ns",
    "time.localtime",
    "time.gmtime",
    "time.ctime",
    "time.strftime",
    "time.clock_gettime",
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
    "os.utime",
}
WALL_CLOCK_ALLOWED = {
    ("gateway/api/client_certificate.py", "time.time"),  # certificates expire by the time of day
    ("gateway/api/middleware/known_requests.py", "time.time"),  # keys, likewise
    ("gateway/auth/access_file/parser.py", "time.time"),  # keys, likewise
    ("gateway/auth/audit.py", "datetime.now"),  # when it was, for people
    ("gateway/auth/jwt/token_cache.py", "time.time"),  # tokens, likewise
    ("gateway/auth/keys.py", "time.time"),
    ("gateway/cli/key.py", "time.time"),
    ("gateway/artifacts/cache.py", "os.utime"),  # orders the cache's models by use, across processes
    ("gateway/artifacts/locks.py", "os.utime"),  # a sign of life: only that it changes matters
    ("gateway/environments/store.py", "os.utime"),  # orders environments by use, likewise
    ("gateway/catalog/availability.py", "datetime.now"),  # since when MLflow is away, for people
    (
        "gateway/environments/local_wheels.py",
        "os.utime",
    ),  # orders wheels by use, across processes and restarts
    ("gateway/environments/local_wheels.py", "time.time"),
    ("gateway/console/nodes.py", "datetime.now"),  # whether a time is today's, for people
    ("gateway/engines/fleet/link_status.py", "datetime.now"),  # since when a node is lost, likewise
    ("gateway/server/tls_files.py", "datetime.now"),  # certificates, as above
    ("gateway/telemetry/events/event_log.py", "time.time"),  # when it was, for people
    ("gateway/telemetry/history/history.py", "time.time"),  # likewise, and steps that all processes share
}


def test_no_deadline_uses_the_time_of_day() -> None:
    """The code asks the wall clock only where it must: what waits or expires uses the monotonic clock."""
    found = set()
    for file in sorted((ROOT / "src").rglob("*.py")):
        tree = ast.parse(file.read_text())
        imported = {
            alias.asname or alias.name: f"{node.module}.{alias.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module in {"time", "os"}
            for alias in node.names
        }
        used = {".".join(ast.unparse(node).split(".")[-2:]) for node in ast.walk(tree) if is_name(node)}
        used |= {imported[name] for name in used if name in imported}
        found |= {(str(file.relative_to(ROOT / "src")), name) for name in used & WALL_CLOCK}
    assert found == WALL_CLOCK_ALLOWED


def is_name(node: ast.AST) -> bool:
    """Whether it is a name, or a dotted one."""
    return isinstance(node, ast.Name) or (isinstance(node, ast.Attribute) and is_name(node.value))
