"""Proves which principal the names in a certificate have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.auth.actions import Action
from gateway.auth.grants import parse_grants
from gateway.auth.mtls import MtlsAuthenticator
from gateway.domain.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.auth.rights import Rights

OWN = Limits(concurrent=7)
CHECKOUT = "spiffe://mesh/ns/shop/sa/checkout"


class File:
    """An access file that has some names."""

    def __init__(self) -> None:
        self.grants = {CHECKOUT: parse_grants({"invoke": ["wine"]})}
        self.generation = 0
        self.asked: list[tuple[str, ...]] = []

    def rights_for(self, names: Sequence[str]) -> tuple[str, Rights, Limits] | None:
        self.asked.append(tuple(names))
        return next(((name, self.grants[name], OWN) for name in names if name in self.grants), None)

    def authenticator(self) -> MtlsAuthenticator:
        return MtlsAuthenticator(self.rights_for, generation=lambda: self.generation)


def test_a_known_name() -> None:
    """It has the rights and limits of the file, also if it is not the first in the certificate."""
    found = File().authenticator().recognise(("spiffe://mesh/other", CHECKOUT))
    assert found is not None
    assert (str(found), found.limits, found.configured) == (f"mtls:{CHECKOUT}", OWN, True)
    assert found.rights.decide(Action.INVOKE, "wine", None)
    assert not found.rights.decide(Action.INVOKE, "fraud", None)


def test_an_unknown_name() -> None:
    """A client with a certificate is known, but may do nothing that the file does not say."""
    found = File().authenticator().recognise(["spiffe://mesh/ns/shop/sa/check*", "b"])
    assert found is not None
    assert (found.id, found.limits, found.configured) == ("spiffe://mesh/ns/shop/sa/check*", Limits(), False)
    for action in (Action.READ, Action.INVOKE, Action.MANAGE, Action.STATUS):
        assert not found.rights.decide(action, "wine", None)


def test_no_name() -> None:
    """A certificate without a name is as none."""
    file = File()
    assert file.authenticator().recognise(()) is None
    assert file.asked == []


def test_it_is_the_same_principal_until_the_file_changes() -> None:
    """The file is asked once; after a change, the next request has the new rights."""
    file = File()
    known = file.authenticator()
    first = known.recognise((CHECKOUT,))
    assert first is known.recognise([CHECKOUT])
    assert file.asked == [(CHECKOUT,)]
    file.grants, file.generation = {}, 1
    second = known.recognise((CHECKOUT,))
    assert second is not None
    assert not second.rights.decide(Action.INVOKE, "wine", None)
    assert second is known.recognise((CHECKOUT,))
