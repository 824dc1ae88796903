"""Proves what of a request's headers counts as a credential."""

from __future__ import annotations

import base64

import pytest

from gateway.auth.credentials import Credential, parse_credential
from gateway.auth.errors import AmbiguousCredentials


def basic(text: bytes) -> str:
    return f"Basic {base64.b64encode(text).decode()}"


@pytest.mark.parametrize(
    ("authorization", "api_key", "found"),
    [
        ([], [], None),
        (["Bearer gwk_x"], [], Credential("key", "gwk_x")),
        (["bearer   gwk_x "], [], Credential("key", "gwk_x")),
        (["Bearer a.b.c"], [], Credential("bearer", "a.b.c")),
        ([], ["anything"], Credential("key", "anything")),
        (["Bearer gwk_x"], ["gwk_x"], Credential("key", "gwk_x")),
        (["Bearer gwk_x", "Bearer gwk_x"], [], Credential("key", "gwk_x")),
        ([basic(b"me:pass:word")], [], Credential("basic", "me:pass:word")),
        ([basic("me:pä".encode())], [], Credential("basic", "me:pä")),
        ([basic(b":")], [], Credential("basic", ":")),
    ],
)
def test_one_credential(authorization: list[str], api_key: list[str], found: Credential | None) -> None:
    """A key in either header, a token, or a user with a password; the same one twice is one."""
    assert parse_credential(authorization, api_key) == found


@pytest.mark.parametrize(
    ("authorization", "api_key"),
    [
        (["Bearer gwk_x"], ["gwk_y"]),
        (["Bearer gwk_x", "Bearer gwk_y"], []),
        (["Bearer a.b.c"], ["gwk_y"]),
        ([basic(b"a:b"), "Bearer gwk_x"], []),
        ([], ["gwk_x", "gwk_y"]),
        (["Bearer"], []),
        (["Bearer "], []),
        (["Bearer a b"], []),
        (["gwk_x"], []),
        (["Digest x"], []),
        (["Basic ###"], []),
        ([basic(b"no colon")], []),
        ([basic(b"\xff:x")], []),
        ([basic(b"a\x00:x")], []),
        ([""], []),
    ],
)
def test_what_is_refused(authorization: list[str], api_key: list[str]) -> None:
    """Two that differ, and what cannot be read; the message repeats nothing of it."""
    with pytest.raises(AmbiguousCredentials) as caught:
        parse_credential(authorization, api_key)
    assert "gwk_" not in str(caught.value)


def test_a_credential_does_not_show_its_secret() -> None:
    """Not in a log, nor in a trace."""
    assert "gwk_x" not in repr(Credential("key", "gwk_x"))
