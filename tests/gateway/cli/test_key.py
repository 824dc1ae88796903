"""Proves what `gateway key` prints, adds and finds wrong, as a user types it."""

from __future__ import annotations

import io
import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from gateway.auth.access_file.key import digest, is_well_formed, new_key
from gateway.auth.access_file.reader import read_access_file
from gateway.cli import main
from tests.support.access_files import entry, keys, write
from tests.support.commands import gateway
from tests.support.mlflow_server import environment

if TYPE_CHECKING:
    from pathlib import Path

KEY, EXPIRED = new_key()[0], new_key()[0]
INTERRUPT = "\x03"  # Ctrl-C


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Return a function that runs `gateway key` in an empty folder, and returns its status and output."""

    def run(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        try:
            status = main.main(["key", *arguments])
        except SystemExit as error:  # of wrong arguments
            status = int(error.code or 0)
        return status, *capsys.readouterr()

    monkeypatch.chdir(tmp_path)
    return run


def test_a_new_key(tmp_path: Path) -> None:
    """The key alone is standard output, for a script; the entry is for a person, and is what a file takes."""
    done = gateway(
        *("key", "new", "billing-2026", "--expires", "2099-01-31", "--rate", "50/s"),
        *("--grant", "invoke=wine,team-*", "--grant", "read=*", "--grant", "invoke=fraud@champion"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    key = done.stdout.removesuffix("\n")
    assert is_well_formed(key)
    assert key not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("  ")]
    file = read_access_file(write(tmp_path / "access.yaml", "keys:\n" + "\n".join(lines)))
    found = file.keys[digest(key)]
    assert found.principal.id == "billing-2026"
    assert str(found.principal.limits.rate) == "50/s"
    assert str(found.entitlement) == "invoke wine, team-*, fraud@champion; read *"
    assert [each.name for each in tmp_path.iterdir()] == ["access.yaml"]


def test_added_keys(tmp_path: Path, run: Run) -> None:
    """The file is made, and grows with its comments and its mode; its name comes from `.env`."""
    (tmp_path / ".env").write_text("GATEWAY_API_KEYS_FILE=access.yaml\n")
    path = tmp_path / "access.yaml"
    status, first, problem = run("new", "a", "--grant", "invoke=*", "--add")
    assert status == 0, problem
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("# ours\nroles: {r: {grants: {read: '*'}}}\n" + path.read_text() + "# the end\n")
    status, second, problem = run("new", "b", "--role", "r", "--add")
    assert status == 0, problem
    found = read_access_file(path).keys
    assert [found[digest(key.strip())].principal.id for key in (first, second)] == ["a", "b"]
    assert path.read_text().startswith("# ours\n")
    assert path.read_text().endswith("# the end\n")
    assert sorted(each.name for each in tmp_path.iterdir()) == [".env", "access.yaml"]


@pytest.mark.parametrize(
    "before",
    [
        "roles: {}\n",
        "keys: []\n",
        "keys:\n",
        "keys: # none\nroles: {}\n",
        "keys:\n- id: x\n  sha256: {0}\n  grants: {}\n# end",
        "keys:\n\n# of billing\n      - id: x\n        sha256: {0}\n        grants: {}\nroles: {}\n",
        "roles: {}\nkeys:\n  -\n    id: x\n    sha256: {0}\n    grants: {}\n",
        "---\nkeys:\n  - {id: x, sha256: {0}, grants: {}}\n",
        "\ufeffkeys:\n  - {id: x, sha256: {0}, grants: {}}\r\n",
    ],
)
def test_forms_of_files(tmp_path: Path, before: str, run: Run) -> None:
    """A key can be added to all that people write by hand, and the rest stays as it was."""
    path = write(tmp_path / "f", before.replace("{0}", digest(KEY).hex()))
    old = read_access_file(path)
    assert run("new", "new-one", "--grant", "read=*", "--file", "f", "--add")[0] == 0
    new = read_access_file(path)
    assert len(new.keys) == len(old.keys) + 1
    assert new.keys.keys() > old.keys.keys()
    kept = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert kept == [line for line in before.splitlines() if line.startswith("#")]


@pytest.mark.parametrize(
    "before",
    ["{keys: [{id: x, sha256: {0}, grants: {}}]}\n", "keys: [{id: x, sha256: {0}, grants: {}}]\n"],
)
def test_a_form_that_nothing_is_added_to(tmp_path: Path, before: str, run: Run) -> None:
    """The file stays as it was, and no key is printed."""
    text = before.replace("{0}", digest(KEY).hex())
    path = write(tmp_path / "f", text)
    status, output, problem = run("new", "b", "--grant", "read=*", "--file", "f", "--add")
    assert (status, output) == (2, "")
    assert "run it without --add, and add the entry by hand" in problem
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["a"], "gateway: it may do nothing: give it --grant or --role\n"),
        (["a b", "--grant", "read=*"], "id: 'a b' must begin with"),
        (["a: b", "--grant", "read=*"], "id: "),
        (["a", "--grant", "infer=*"], "grants: 'infer' is none of read, invoke, manage, status"),
        (["a", "--grant", "read"], "'read' is not of the form invoke=wine,team-*"),
        (["a", "--grant", "read=a/b/c"], "is not a pattern"),
        (["a", "--grant", "read=*", "--expires", "2020-01-01"], "expires: 2020-01-01 is past"),
        (["a", "--grant", "read=*", "--expires", "soon"], "expires: 'soon' is not a date such as"),
        (["a", "--grant", "read=*", "--rate", "fast"], "rate: 'fast' is not a rate such as"),
        (["a", "--role", "opps"], "has no role 'opps'; is ops meant?"),
        (["known", "--role", "ops"], "has a key known; each needs an id of its own"),
        (["a", "--role", "ops", "--rate", "1/s\n    grants: {read: '*'}"], "rate: "),
    ],
)
def test_what_no_key_is_made_for(arguments: list[str], reason: str, tmp_path: Path, run: Run) -> None:
    """Status 2, no key, and the reason; the file is not touched."""
    text = "roles: {ops: {grants: {read: '*'}}}\n" + keys(known=KEY)
    path = write(tmp_path / "f", text)
    status, output, problem = run("new", *arguments, "--file", "f", "--add")
    assert (status, output) == (2, "")
    assert reason in problem
    assert path.read_text() == text


def test_a_folder_that_others_write(tmp_path: Path, run: Run) -> None:
    """A file that no gateway would read is not left there, and no key is printed."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    status, output, problem = run("new", "a", "--grant", "read=*", "--file", "open/f", "--add")
    assert (status, output) == (2, "")
    assert "other users can write to its folder" in problem
    assert list((tmp_path / "open").iterdir()) == []


def test_a_folder_that_is_missing(tmp_path: Path, run: Run) -> None:
    """The message names the folder by the command that makes it, which is all that was missing."""
    arguments = ("new", "a", "--grant", "read=*", "--file", "of mine/keys/f", "--add")
    status, output, problem = run(*arguments)
    assert (status, output) == (2, "")
    assert problem.startswith(
        "gateway: of mine/keys/f cannot be written: there is no folder for it; make one: "
    )
    command = problem.strip().partition("make one: ")[2]
    assert command == f"mkdir -p -m 700 '{tmp_path}/of mine/keys'"
    subprocess.run(["bash", "-ec", command], check=True)
    assert run(*arguments)[0] == 0


def test_list(tmp_path: Path, run: Run) -> None:
    """Ids, expiry, roles and rights; no hash."""
    text = (
        "roles: {ops: {grants: {manage: '*'}}}\nkeys:\n"
        + entry(KEY, "live", "role: ops")
        + entry(EXPIRED, "old", "expires: 2020-01-31", "grants: {invoke: [wine, 'team-*']}")
    )
    write(tmp_path / "access.yaml", text)
    status, output, _ = run("list", "--file", "access.yaml")
    assert status == 0
    assert [line.split() for line in output.splitlines()] == [
        ["ID", "EXPIRES", "LEFT", "ROLE", "MAY"],
        ["live", "never", "-", "ops", "manage", "*"],
        ["old", "2020-02-01", "00:00", "UTC", "expired", "-", "invoke", "wine,", "team-*"],
    ]


@pytest.mark.parametrize(
    ("key", "status", "expected"),
    [
        (KEY, 0, ["live: valid", "expires: never", "role: -", "may: invoke *"]),
        (f"{KEY}\r\n\n", 0, ["live: valid", "expires: never", "role: -", "may: invoke *"]),
        (EXPIRED, 1, ["old: expired", "expires: 2020-02-01 00:00 UTC", "role: -", "may: invoke *"]),
        (new_key()[0], 1, ["well-formed, but the file does not have it"]),
        (KEY[:-1], 1, ["not a key: its form or its checksum is wrong; it is mistyped or cut off"]),
        ("", 0, []),
    ],
    ids=["valid", "with line ends", "expired", "unknown", "cut off", "none"],
)
def test_check(key: str, status: int, expected: list[str], tmp_path: Path, run: Run) -> None:
    """The key comes from standard input and is not repeated; the status tells a script the same."""
    old = entry(EXPIRED, "old", "expires: 2020-01-31", 'grants: {invoke: "*"}')
    write(tmp_path / "access.yaml", "keys:\n" + entry(KEY, "live") + old)
    found, output, told = run("check", "--file", "access.yaml", stdin=key)
    assert (found, output.splitlines()) == (status, expected)
    assert "2 keys, 0 roles, no problems" in told
    assert "line 7: key 2 (old) has expired" in told
    assert not key.strip() or key.strip() not in output + told


def test_check_of_a_broken_file(tmp_path: Path, run: Run) -> None:
    """Every problem is on a line of its own, and the status is that of wrong settings."""
    write(tmp_path / "access.yaml", "keys: [{}]\nrolls: 1\n")
    status, output, problems = run("check", "--file", "access.yaml")
    assert (status, output) == (2, "")
    lines = [line.split(":")[1].strip() for line in problems.splitlines()]
    assert lines == ["line 1", "line 1", "line 1", "line 2"]


def test_check_without_a_file(run: Run) -> None:
    """The checksum can be looked at anywhere; with neither key nor file there is nothing to check."""
    assert run("check", stdin=KEY) == (0, "well-formed; no file says more of it\n", "")
    assert run("check", stdin=KEY.lower())[0] == 1
    status, _, problem = run("check")
    assert status == 2
    assert "set GATEWAY_API_KEYS_FILE, or give --file" in problem


def test_a_key_that_a_person_chose(tmp_path: Path, run: Run) -> None:
    """It works, but the check warns of it."""
    write(tmp_path / "access.yaml", keys(a="hunter2"))
    status, _, warning = run("check", "--file", "access.yaml", stdin="hunter2")
    assert status == 0
    assert "A key that a person chose can be guessed" in warning


def at_prompt(path: Path, typed: str) -> tuple[int, str]:
    """Type something at the prompt of `gateway key check`; return the status and all that is shown."""
    terminal, end = pty.openpty()
    # A session's first process gets the terminal that it opens: else Ctrl-C would be a character like others.
    code = """if True:
        import os, signal, sys
        os.close(os.open(os.ttyname(0), os.O_RDWR))
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # what runs in the background of a shell ignores it
        os.execv(sys.argv[1], sys.argv[1:])
    """
    check = [sys.executable, "-m", "gateway", "key", "check", "--file", str(path)]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *check],
        env=environment(),
        stdin=end,
        stdout=end,
        stderr=end,
        start_new_session=True,
    )
    os.close(end)
    shown = b""
    while b"API key" not in shown:
        shown += os.read(terminal, 1000)
    os.write(terminal, typed.encode())
    with suppress(OSError):  # no process has the terminal any more
        while True:
            if select.select([terminal], [], [], 1.0)[0]:
                part = os.read(terminal, 1000)
                if not part:
                    break
                shown += part
            elif typed == INTERRUPT:  # a signal just before the read begins counts with the next one
                os.write(terminal, typed.encode())
    os.close(terminal)
    return process.wait(60), shown.decode().replace("\r\n", "\n")


def test_a_terminal_shows_no_key(tmp_path: Path) -> None:
    """A person types it at a prompt that does not repeat it."""
    status, shown = at_prompt(write(tmp_path / "access.yaml", keys(live=KEY)), f"{KEY}\n")
    assert status == 0
    assert "live: valid" in shown
    assert KEY not in shown


@pytest.mark.parametrize(
    ("typed", "status", "reason"), [("\x04", 1, "the input ended"), (INTERRUPT, 130, "interrupted")]
)
def test_a_prompt_that_is_left(typed: str, status: int, reason: str, tmp_path: Path) -> None:
    """Ctrl-D and Ctrl-C are no errors of the program: one line, and the status that shells have for them."""
    found, shown = at_prompt(write(tmp_path / "access.yaml", keys(live=KEY)), typed)
    assert found == status
    assert shown.partition("only the file): ")[2] == f"\ngateway: no key was checked: {reason}\n"


def test_help(run: Run) -> None:
    """`gateway key` alone lists its commands, and is no error."""
    status, output, _ = run()
    assert status == 0
    assert all(f"\n    {command} " in output for command in ("new", "list", "check"))


def test_serve_refuses_a_broken_file(tmp_path: Path) -> None:
    """With status 2, before anything listens, and with every problem."""
    path = write(tmp_path / "access.yaml", "keys: [{}]\nrolls: 1\n")
    extra = {
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        "GATEWAY_API_KEYS_FILE": str(path),
        "GATEWAY_AUTH": "keys",
    }
    done = gateway("serve", cwd=tmp_path, extra=extra)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert "gateway: GATEWAY_API_KEYS_FILE: line 2: there is no section 'rolls'; is roles meant?" in lines
    assert sum("GATEWAY_API_KEYS_FILE: line 1" in line for line in lines) == 3


def test_serve_without_the_file(tmp_path: Path) -> None:
    """The error has the command that makes the file, and running it is enough."""
    path = tmp_path / "access.yaml"
    extra = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "GATEWAY_AUTH": "keys"}
    extra |= {"GATEWAY_API_KEYS_FILE": str(path)}
    done = gateway("serve", cwd=tmp_path, extra=extra)
    assert done.returncode == 2
    assert (
        f"gateway: GATEWAY_API_KEYS_FILE: {path} cannot be read: No such file or directory; "
        "`gateway key new ID --grant … --add` makes it\n" in done.stderr
    )
    made = gateway("key", "new", "a", "--grant", "read=*", "--add", cwd=tmp_path, extra=extra)
    assert made.returncode == 0
    assert list(read_access_file(path).keys) == [digest(made.stdout.strip())]
