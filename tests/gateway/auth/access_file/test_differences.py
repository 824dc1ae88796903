"""Proves what the log says of a newly read access file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.auth.access_file.differences import find_changes, log_loaded, log_rejected
from gateway.auth.access_file.key import new_key
from gateway.auth.access_file.model import EMPTY
from gateway.auth.access_file.parser import parse_access_file
from gateway.auth.access_file.problems import AccessFileError
from tests.support.access_files import entry

if TYPE_CHECKING:
    from gateway.auth.access_file.model import AccessFile

KEY = new_key()[0]
BEFORE = """
roles:
  ops: {grants: {manage: "*"}}
  old: {grants: {read: "*"}}
principals:
  jwt:https://i: {grants: {read: wine}}
  jwt:https://i|group:a: {grants: {read: wine}}
  jwt:https://i|sub:ann: {role: ops}
  mtls:a.example.org: {grants: {read: wine}, rate: 1/s}
"""
AFTER = """
roles:
  ops: {grants: {invoke: "*"}}
  new: {grants: {read: "*"}}
principals:
  jwt:https://i|group:a: {grants: {read: wine}}
  jwt:https://i|sub:ann: {role: ops}
  jwt:https://i|sub:eve: {grants: {manage: "*"}}
  mtls:a.example.org: {grants: {read: wine}, rate: 2/s}
"""


def parse(text: str, key: str = "") -> AccessFile:
    """Return a file with these roles and principals, and one key."""
    return parse_access_file((text + "keys:\n" + entry(key or KEY, "billing")).encode())


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "gateway")


def test_principals_and_roles_are_named() -> None:
    """As the file names them, and also who changes by its role alone; what stays as it was is not."""
    assert find_changes(parse(BEFORE), parse(AFTER)) == {
        "added": ["jwt:https://i|sub:eve", "role new"],
        "removed": ["jwt:https://i", "role old"],
        "changed": ["jwt:https://i|sub:ann", "mtls:a.example.org", "role ops"],
    }
    changed = find_changes(parse(AFTER), parse(AFTER, new_key()[0]))
    assert changed == {"added": [], "removed": [], "changed": ["billing"]}


def test_the_line_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """Twenty names of five thousand, and the number of all."""
    many = "".join(
        f"  jwt:https://i|sub:s{number:04}: {{grants: {{read: wine}}}}\n" for number in range(5000)
    )
    found = parse(f"principals:\n{many}")
    log_loaded(found, find_changes(parse(""), found))
    (record,) = caplog.records
    line, fields = record.getMessage(), record.__dict__
    assert line.startswith(
        "Access file loaded: 1 key, 0 roles, 5000 principals; added: jwt:https://i|sub:s0000,"
    )
    assert line.endswith(", jwt:https://i|sub:s0019 and 4980 more")
    assert (len(fields["added"]), fields["added_count"], fields["removed_count"]) == (20, 5000, 0)


@pytest.mark.parametrize(
    ("file", "loaded", "kept"),
    [
        (EMPTY, "0 keys, 0 roles, 0 principals", "the 0 keys of before stay in force: x"),
        (
            parse("roles: {a: {grants: {read: wine}}}\nprincipals: {mtls:a: {role: a}}\n"),
            "1 key, 1 role, 1 principal",
            "the 1 key of before stays in force: x",
        ),
        (parse(BEFORE), "1 key, 2 roles, 4 principals", "the 1 key of before stays in force: x"),
    ],
)
def test_one_is_no_plural(file: AccessFile, loaded: str, kept: str, caplog: pytest.LogCaptureFixture) -> None:
    """Each number has the form of its noun."""
    log_loaded(file, None)
    log_rejected(AccessFileError(("x",)), file)
    assert [record.getMessage() for record in caplog.records] == [
        f"Access file loaded: {loaded}",
        f"The access file cannot be used; {kept}",
    ]
