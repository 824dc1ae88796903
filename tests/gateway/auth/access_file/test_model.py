"""Proves which rights and limits holders of tokens and certificates have."""

from __future__ import annotations

import pytest

from gateway.auth.access_file.model import EMPTY
from gateway.auth.access_file.parser import parse_access_file
from gateway.auth.actions import Action
from gateway.domain.limits import Limits, Rate

IDP = "https://idp.example.org"
FILE = parse_access_file(
    f"""
principals:
  jwt:{IDP}: {{grants: {{status: "*"}}}}
  jwt:{IDP}|group:a: {{grants: {{read: [wine, x]}}, rate: 600/min, concurrent: 1}}
  jwt:{IDP}|group:b: {{grants: {{read: ["team-*", x]}}, rate: 20/s, burst: 7, max_body_bytes: 10}}
  jwt:{IDP}|sub:joe: {{grants: {{invoke: [forest]}}, rate: 1/h}}
  jwt:{IDP}|sub:a: {{grants: {{manage: [forest]}}}}
  mtls:Shop.Example.org: {{grants: {{invoke: [wine]}}}}
  mtls:spiffe://mesh/Shop: {{grants: {{invoke: [forest]}}}}
""".encode()
)


def may(issuer: str, subject: str, *groups: str) -> str:
    """Return what the holder of a token may do."""
    found = FILE.for_token(issuer, subject, groups)
    return "nothing at all" if found is None else str(found)


def test_rights_of_groups_are_united() -> None:
    """With those of the subject and of every holder; each pattern is there once."""
    assert may(IDP, "jim") == "status *"
    assert may(IDP, "jim", "c") == "status *"
    assert may(IDP, "jim", "a") == "read wine, x; status *"
    assert may(IDP, "jim", "a", "b", "a") == "read wine, x, team-*; status *"
    assert may(IDP, "joe", "b") == "read team-*, x; invoke forest; status *"
    found = FILE.for_token(IDP, "joe", ["b"])
    assert found is not None
    assert found.rights.decide(Action.READ, "team-9", None)
    assert not found.rights.decide(Action.READ, "wine", None)


def test_subjects_are_not_groups() -> None:
    """A subject named like a group, or a group named like a subject, has nothing of the other."""
    assert may(IDP, "a") == "manage forest; status *"
    assert may(IDP, "jim", "joe") == "status *"


@pytest.mark.parametrize("issuer", [f"{IDP}/", "https://IDP.example.org", "http://idp.example.org", ""])
def test_another_issuer(issuer: str) -> None:
    """Issuers are compared as they are: OpenID wants it so."""
    assert may(issuer, "joe", "a", "b") == "nothing at all"


def test_limits() -> None:
    """The subject's own count, else the most generous of the groups that have one."""
    groups = FILE.for_token(IDP, "jim", ["a", "b"])
    assert groups is not None
    assert groups.limits == Limits(Rate(20, 1), 7, 1, 10)
    own = FILE.for_token(IDP, "joe", ["a", "b"])
    assert own is not None
    assert own.limits == Limits(Rate(1, 3600), 7, 1, 10)


def test_what_was_found_is_remembered() -> None:
    """A request with a known token finds the same object, whose decisions are remembered."""
    assert FILE.for_token(IDP, "joe", ["a"]) is FILE.for_token(IDP, "joe", ["a"])
    for number in range(20_000):
        FILE.for_token(IDP, f"subject-{number}", ["a"])
    assert len(FILE._remembered) == 10_000


def test_names_of_certificates() -> None:
    """The first that is known counts. Case matters in a URI, and not in a DNS name."""
    for names, expected in (
        (["spiffe://mesh/Shop", "shop.example.org"], "invoke forest"),
        (["x", "SHOP.example.ORG", "spiffe://mesh/Shop"], "invoke wine"),
        (["spiffe://mesh/shop"], None),
        (["other.shop.example.org"], None),
        ([], None),
    ):
        found = FILE.for_certificate(names)
        assert (None if found is None else str(found[1])) == expected
        assert found is None or found[0] in {"spiffe://mesh/Shop", "shop.example.org"}


def test_the_empty_file() -> None:
    """Without a file no caller has rights."""
    assert EMPTY.key(b"", 0.0) is None
    assert EMPTY.for_token(IDP, "joe") is None
    assert EMPTY.for_certificate(["shop.example.org"]) is None
