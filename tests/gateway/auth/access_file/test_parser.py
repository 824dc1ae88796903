"""Proves what an access file means, and that every problem in it is found at once, with its line."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.access_file.key import digest, new_key
from gateway.auth.access_file.parser import parse_access_file
from gateway.auth.access_file.problems import AccessFileError
from gateway.auth.actions import Action
from gateway.domain.limits import Limits, Rate
from tests.support.access_files import entry, keys, many_keys

KEY, HASH = new_key()
OTHER, OTHER_HASH = new_key()
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp()
EXAMPLE = Path(__file__).parents[4] / "docs" / "identity" / "access.example.yaml"


def problems(text: str | bytes) -> list[str]:
    """Return the problems of a file."""
    content = text.encode() if isinstance(text, str) else text
    with pytest.raises(AccessFileError) as caught:
        parse_access_file(content, now=NOW)
    assert KEY not in str(caught.value)
    assert KEY[4:20] not in str(caught.value)
    assert HASH not in str(caught.value)
    return list(caught.value.problems)


def test_a_whole_file() -> None:
    """Keys with roles, rights and limits of their own, and holders of tokens and certificates."""
    text = f"""
roles:
  ops:
    grants: {{read: ["*"], manage: [wine], status: ["*"]}}
    rate: 10/min
    concurrent: 2
keys:
  - id: billing-2026
    sha256: {HASH.upper()}
    expires: 2027-01-31
    grants: {{invoke: ["wine", "fraud@champion"], read: "*"}}
    rate: 50/s
    burst: 100
    concurrent: 16
    max_body_bytes: 1048576
  - {{id: ops.1, sha256: {OTHER_HASH}, role: ops, grants: {{invoke: [123]}}, rate: 1000/h}}
principals:
  "jwt:https://idp.example|sub:auth0|17": {{grants: {{invoke: [a]}}}}
  jwt:https://idp.example|group:ml-ops: {{role: ops}}
  "mtls:spiffe://mesh/ns/shop/sa/checkout": {{grants: {{invoke: ["wine"]}}}}
"""
    file = parse_access_file(text.encode(), now=NOW)
    billing, ops = file.key(digest(KEY), NOW), file.key(digest(OTHER), NOW)
    assert billing is not None
    assert ops is not None
    assert (str(billing), str(ops)) == ("keys:billing-2026", "keys:ops.1")
    assert billing.configured
    assert billing.limits == Limits(Rate(50, 1), 100, 16, 1048576)
    assert ops.limits == Limits(Rate(1000, 3600), None, 2, None)
    assert billing.rights.decide(Action.INVOKE, "wine", None)
    assert not billing.rights.decide(Action.MANAGE, "wine", None)
    assert ops.rights.decide(Action.MANAGE, "wine", None)
    assert ops.rights.decide(Action.INVOKE, "123", None)
    assert not ops.rights.decide(Action.INVOKE, "wine", None)
    for found in (
        file.for_token("https://idp.example", "auth0|17"),
        file.for_token("https://idp.example", "x", ["ml-ops"]),
    ):
        assert found is not None
    assert file.for_certificate(["spiffe://mesh/ns/shop/sa/checkout"]) is not None
    assert file.warnings == ()


def test_the_example_of_the_documentation() -> None:
    """It is what a user starts from, and has a line of every kind."""
    file = parse_access_file(EXAMPLE.read_bytes(), now=NOW)
    assert (len(file.keys), len(file.roles), len(file.token_holders), len(file.certificates)) == (3, 2, 3, 1)


@pytest.mark.parametrize(
    ("expires", "last", "first_after"),
    [
        ("2027-01-31", "2027-01-31T23:59:59Z", "2027-02-01T00:00:00Z"),
        ("2027-01-31T18:00:00Z", "2027-01-31T17:59:59Z", "2027-01-31T18:00:00Z"),
        ("2027-01-31 18:00:00", "2027-01-31T17:59:59Z", "2027-01-31T18:00:00Z"),
        ('"2027-01-31T18:00:00+02:00"', "2027-01-31T15:59:59Z", "2027-01-31T16:00:00Z"),
    ],
)
def test_expiry(expires: str, last: str, first_after: str) -> None:
    """A date means the end of its day, and all times are UTC unless they say more."""
    text = "keys:\n" + entry(KEY, "a", f"expires: {expires}", "grants: {read: '*'}")
    file = parse_access_file(text.encode(), now=NOW)
    assert file.key(digest(KEY), datetime.fromisoformat(last).timestamp()) is not None
    assert file.key(digest(KEY), datetime.fromisoformat(first_after).timestamp()) is None


def test_an_expired_key_is_a_warning() -> None:
    """A gateway must start, also on the day after."""
    file = parse_access_file(
        ("keys:\n" + entry(KEY, "old", "expires: 2026-05-31", "grants: {read: '*'}")).encode(), now=NOW
    )
    assert file.warnings == ("line 4: key 1 (old) has expired; remove it or prolong it",)
    assert file.key(digest(KEY), NOW) is None


def test_every_problem_at_once() -> None:
    """Of all sections, in the order of the lines."""
    text = f"""keys:
  - id: billing 2026
    sha256: {KEY}
    expires: tomorrow
    rate: 50/sec
    burst: 0
    grant: {{read: "*"}}
  - id: a
    sha256: abc
    role: opps
    rate: [1]
    rate: 3/s
  - id: a
    sha256: {HASH}
    grants:
      invoke: [wine, "a/b/c",
        [x]]
      infer: ["*"]
      status: [wine]
      read:
      read: ["*"]
  - x
  - {{}}
rolls: {{}}
roles:
  ops:
    grants: {{read: "*"}}
    expires: 2020-01-01
principals:
  mlflow:joe: {{role: ops}}
  "jwt:https://x|roles:x": {{role: ops}}
  mtls:x:
"""
    found = problems(text)
    assert [int(line.split(":")[0].removeprefix("line ")) for line in found] == [
        *(2, 2, 3, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 16, 17, 18, 19, 20, 21, 22, 23, 23, 23, 24),
        *(28, 30, 31, 32),
    ]  # fmt: skip
    for expected in (
        "line 2: key 1: id: 'billing 2026' must begin with a letter or digit",
        "line 3: key 1: sha256: this is the key itself, not its hash",
        "line 4: key 1: expires: 'tomorrow' is not a date such as 2027-01-31",
        "line 5: key 1: rate: '50/sec' is not a rate such as 50/s, 600/min or 1000/h",
        "line 6: key 1: burst: '0' is not a whole number from 1",
        "line 7: key 1: there is no field 'grant'; is grants meant?",
        "line 9: key 2 (a): sha256: must be the 64 hexadecimal digits",
        "line 10: key 2 (a): there is no role 'opps'; is ops meant?",
        "line 11: key 2 (a): rate must be a text, not a list",
        "line 12: key 2: 'rate' appears again; it is in line 11 too",
        "line 13: key 3: id: a appears again; it is in line 8 too",
        "line 17: key 3: grants: invoke: a pattern must be a text",
        "line 18: key 3: grants: 'infer' is none of read, invoke, manage, status",
        'line 19: key 3: grants: status concerns no model: it must be ["*"]',
        "line 21: key 3: grants: 'read' appears again; it is in line 20 too",
        "line 22: key 4 must be a mapping of names to values",
        "line 23: key 5: it has no id, by which logs name it",
        "line 24: there is no section 'rolls'; is roles meant?",
        "line 28: role 'ops': there is no field 'expires'",
        "line 30: principal 'mlflow:joe' has its rights in MLflow, not here",
        "line 31: principal 'jwt:https://x|roles:x' is not of the form jwt:ISSUER|sub:SUBJECT",
        "line 32: principal 'mtls:x' must be a mapping",
    ):
        assert any(line.startswith(expected) for line in found), expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "line 1: the file is empty; to have no keys, write keys: []"),
        ("# only a comment\n", "line 1: the file is empty"),
        ("keys: [\n", "line 2: the file is not YAML"),
        ("keys: []\nkeys: []", "line 2: the file: 'keys' appears again; it is in line 1 too"),
        ("- a", "line 1: the file must be a mapping"),
        ("keys: {a: b}", "line 1: keys must be a list"),
        ("roles: []", "line 1: roles must be a mapping"),
        ("\n\nkeys: \x01", "line 3: the file has a character that YAML does not allow"),
        ("roles:\n  a: {grants: {read: [*]}}", 'line 2: a pattern that begins with * must be quoted: "*"'),
        ("roles:\n  a: {grants: {read: *a }}", "line 2: YAML's aliases are not supported"),
        ("roles:\n  a: &a {grants: {read: x}}", "line 2: YAML's anchors are not supported"),
        ("keys: []\n---\nkeys: []", "line 3: the file has more than one YAML document"),
        ("keys: !!python/object/apply:os.system [id]", "line 1: YAML's tags are not supported"),
        ("? [a]\n: b", "line 1: the file: a name must be a text"),
        ("[" * 100_000, "line 1: lists and mappings are nested too deep"),
        ("{a: " * 100_000, "line 1: lists and mappings are nested too deep"),
        ("- " * 100_000, "line 1: lists and mappings are nested too deep"),
        ("roles: {a: {rate: 1/s}}", "line 1: role 'a': it may do nothing; give it grants"),
        ("roles: {a: {grants: {}, role: a}}", "line 1: role 'a': there is no field 'role'"),
        ("principals: {'mtls:a b': {grants: {}}}", "line 1: principal 'mtls:a b' is not of the form"),
        (
            "principals: {'jwt:https://x|sub:': {grants: {}}}",
            "line 1: principal 'jwt:https://x|sub:' is not of",
        ),
        ('principals: {"mtls:a\\u0007": {grants: {}}}', "line 1: principal 'mtls:a\\x07' must have at most"),
        ("keys:\n- {id: <KEY>}", "line 2: key 1: id: this is a key, which must be secret"),
        ("keys:\n- {id: a, sha256: <NONE>}", "line 2: key 1 (a): sha256: this is the hash of an empty text"),
        (
            "keys:\n- {id: a, sha256: <HASH>}\n- {id: b, sha256: <HASH>}",
            "line 3: key 2 (b): sha256: the same key is in line 2 too",
        ),
        (
            "keys: [{id: a, sha256: <HASH>, grants: {}}, {id: b, sha256: <HASH>, grants: {}}]",
            "line 1: key 2 (b): sha256: the same key is in line 1 too",
        ),
        (
            "keys: [{id: a, sha256: <HASH>, grants: {}}, {id: a, sha256: <NONE>, grants: {}}]",
            "line 1: key 2: id: a appears again; it is in line 1 too",
        ),
        (
            "principals:\n  mtls:A.b: {grants: {}}\n  mtls:a.B: {grants: {}}",
            "line 3: principal 'mtls:a.B' appears again",
        ),
        ("keys: []\n# <KEY>", "line 2: the line has a key itself; make another with `gateway key new`"),
        ("roles:\n  <KEY>: {grants: {}}", "line 2: the line has a key itself"),
        ("roles:\n  <KEY>-: {grunts: {}}", "line 2: role 'gwk_…-': there is no field 'grunts'"),
        ("roles:\n  <HASH>x: {grants: {}}", "line 2: role '……' must begin"),
        ("roles: {a: {grants: {read: 'x/y/<HASH>'}}}", "line 1: role 'a': grants: read: 'x/y/…' is"),
    ],
)
def test_one_problem(text: str, expected: str) -> None:
    """Its line, and what would be right; no value that may be secret is repeated."""
    for place, value in (("<KEY>", KEY), ("<HASH>", HASH), ("<NONE>", digest("").hex())):
        text = text.replace(place, value)
    assert any(line.startswith(expected) for line in problems(text)), problems(text)


def test_text_that_is_not_utf8() -> None:
    """The line of the first wrong byte is named. A mark of the encoding at the start is fine."""
    assert problems(b"keys: []\n# caf" + b"\xe9") == ["line 2: the file is not UTF-8 text"]
    assert parse_access_file(b"\xef\xbb\xbfkeys: []").keys == {}


def test_values_are_texts() -> None:
    """No value changes by the types that YAML guesses: a hash of digits, a model named `on` or `1e3`."""
    digits = "1" * 64
    text = f"keys:\n- {{id: 007, sha256: {digits}, grants: {{invoke: [on, 1e3, 0x10, null]}}}}"
    assert problems(text) == [
        "line 2: key 1 (007): grants: invoke: a pattern must be a text, such as wine or team-*"
    ]
    file = parse_access_file(text.replace("null", '"null"').encode())
    (found,) = file.keys.values()
    assert str(found.entitlement) == "invoke on, 1e3, 0x10, null"
    assert bytes.fromhex(digits) in file.keys


@pytest.mark.parametrize(
    "what", ["id: {}", "rate: {}", "expires: {}", "{}: 1", "grants: {{{}: x}}", "role: {}"]
)
@pytest.mark.parametrize("letter", ["a", "1", "-"])
def test_a_long_text_is_cut(what: str, letter: str) -> None:
    """A message has an end, and a search in a long text does not take long."""
    found = problems("keys:\n- " + what.format(f"x{letter * 200_000}x"))
    assert all(len(problem) < 700 for problem in found)


def test_many_unknown_roles() -> None:
    """What may be meant is not looked for among thousands of names, which would take minutes."""
    roles = "".join(f"  role-{number}: {{grants: {{}}}}\n" for number in range(2000))
    unknown = "".join(f"- {{role: rule-{number}}}\n" for number in range(2000))
    found = problems(f"roles:\n{roles}keys:\n{unknown}")
    assert any("there is no role 'rule-0'; there are 2000 others" in line for line in found)


def test_many_problems_are_cut() -> None:
    """A log line has an end."""
    found = problems("keys:\n" + "- x\n" * 500)
    assert len(found) == 101
    assert found[-1] == "and 400 more problems"


@pytest.mark.slow
def test_ten_thousand_keys() -> None:
    """A file of 2 MB, which takes about two seconds; a key is found by one look into a dict."""
    file = parse_access_file(many_keys(10_000).encode(), now=NOW)
    assert len(file.keys) == 10_000
    assert type(file.keys) is dict


def test_equal_rights_are_one_object() -> None:
    """Many keys have few sets of rights, and what is decided for one holds for the others."""
    file = parse_access_file(keys(**{f"k{number}": new_key()[0] for number in range(100)}).encode())
    assert len({id(each.principal.rights) for each in file.keys.values()}) == 1
    assert len({id(each.principal) for each in file.keys.values()}) == 100


NAMES = ["keys", "roles", "principals", "id", "sha256", "expires", "grants", "rate", "burst", "role", "read"]
TEXTS = st.text(max_size=8) | st.sampled_from([KEY, HASH, "*", "wine"])
json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=25,
)


def _problems_if_any(content: bytes) -> tuple[str, ...]:
    try:
        parse_access_file(content, now=NOW)
    except AccessFileError as error:
        return error.problems or ("nothing",)
    return ()


def _parses_or_says_why(content: bytes) -> None:
    found = _problems_if_any(content)
    assert all(problem.startswith("line ") and KEY not in problem for problem in found)


@given(json_like)
def test_no_tree_breaks_the_parser(value: object) -> None:
    """Whatever is where: it means something, or its problems have lines."""
    _parses_or_says_why(yaml.safe_dump(value, allow_unicode=True).encode())
    _parses_or_says_why(yaml.safe_dump({"keys": value, "roles": value, "principals": value}).encode())
    _parses_or_says_why(yaml.safe_dump({"keys": [value], "roles": {"a": value}}).encode())


@given(st.binary(max_size=200) | st.text("[]{}-:?*&!|>'\"%@,# \n\tab", max_size=80).map(str.encode))
def test_no_bytes_break_the_parser(content: bytes) -> None:
    """Nor does what is no YAML at all."""
    _parses_or_says_why(content)
