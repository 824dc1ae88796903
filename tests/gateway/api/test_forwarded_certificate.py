"""Proves what is read from `X-Forwarded-Client-Cert`, and that nothing else is."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import quote

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.forwarded_certificate import MalformedHeader, forwarded_names
from tests.support.tls import CHECKOUT, issue

CA = trustme.CA()
ADMIN = "spiffe://mesh/ns/ops/sa/admin"


def escaped(**names: list[str]) -> str:
    """Return a certificate as nginx and Envoy write it."""
    return quote(issue(CA, **names)[0].decode(), safe="")  # type: ignore[arg-type]  # the values are of several types


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (f'By=spiffe://mesh/gw;Hash=ab;Subject="CN=x,O=y";URI={CHECKOUT}', (CHECKOUT,)),
        (f"URI={CHECKOUT}", (CHECKOUT,)),
        (f'URI="{CHECKOUT}"', (CHECKOUT,)),
        (f"uri={CHECKOUT};dns=a.example.org", (CHECKOUT,)),
        (f"URI={CHECKOUT};URI=spiffe://mesh/b", (CHECKOUT, "spiffe://mesh/b")),
        ("DNS=a.example.org;DNS=B.example.org", ("a.example.org", "b.example.org")),
        ("DNS=*.example.org", ()),
        ('Hash=ab;Subject="CN=a"', ()),
        (f'Subject="CN={CHECKOUT}"', ()),
        (f"By={CHECKOUT};Hash=ab", ()),
        ("", ()),
        ("  \t", ()),
        ('Cert=""', ()),
        # The last element is of the nearest proxy; what stands before may be anybody's.
        (f"URI={ADMIN},URI={CHECKOUT}", (CHECKOUT,)),
        (f"URI={ADMIN} , By=x;URI={CHECKOUT}", (CHECKOUT,)),
        (f"URI={ADMIN},Hash=ab", ()),
        # A subject is chosen by who asked for the certificate: it must end nothing.
        (f'Hash=ab;Subject="O=a,URI={ADMIN};x=\\",URI={ADMIN}";URI={CHECKOUT}', (CHECKOUT,)),
        (f'Subject="\\\\\\"";URI={CHECKOUT}', (CHECKOUT,)),
        (f'Subject="a\\\\";URI={CHECKOUT}', (CHECKOUT,)),
    ],
)
def test_names(header: str, expected: tuple[str, ...]) -> None:
    """The names are those of the last element's URIs, else of its DNS names."""
    assert forwarded_names(header) == expected


@pytest.mark.parametrize(
    "header",
    [
        "x",
        ",",
        f"URI={CHECKOUT},",
        f",URI={CHECKOUT},,",
        f"URI={CHECKOUT};",
        f'URI="{CHECKOUT}',
        f'URI={CHECKOUT}"',
        f'Subject="a"URI={CHECKOUT}',
        f'Subject="a" x;URI={CHECKOUT}',
        f"URI ={CHECKOUT}",
        f"U_RI={CHECKOUT}; URI",
        "URI=",
        "URI=checkout",
        f"URI={CHECKOUT} x",
        f"URI={CHECKOUT}\udcff",
        "URI=spiffe://mesh/\xe9",
        f"URI={CHECKOUT}\\",
        f"=;URI={CHECKOUT}",
        "Cert=x",
        'Cert="%2D"',
        f"Cert={'%41' * 20}",
        "URI=" + CHECKOUT * 1000,
        '"' * 20_000,
        "URI=a:b" + " " * 20_000 + '"',
    ],
)
def test_malformed(header: str) -> None:
    """What cannot be understood gives no name, not even those before it."""
    with pytest.raises(MalformedHeader):
        forwarded_names(header)


def test_certificates() -> None:
    """A certificate that nginx or Envoy passes on is read by the same rules; a URI beside it counts first."""
    assert forwarded_names(f'Cert="{escaped(uris=[CHECKOUT])}"') == (CHECKOUT,)
    assert forwarded_names(f"Hash=a;Cert={escaped(hosts=['a.example.org'])}") == ("a.example.org",)
    assert forwarded_names(f'Cert="{escaped()}"') == ()
    assert forwarded_names(f'Cert="{escaped(uris=[ADMIN])}";URI={CHECKOUT}') == (CHECKOUT,)
    with pytest.raises(MalformedHeader, match="several"):
        forwarded_names(f"Cert={escaped(uris=[ADMIN])};Cert={escaped(uris=[CHECKOUT])}")


@given(st.text(st.sampled_from('URI=spiffe:/a,;"\\ \t\x80DNSCert%'), max_size=80))
def test_any_text(header: str) -> None:
    """Whatever is sent is names or malformed; a name has no separator that stood outside of quotes."""
    try:
        names = forwarded_names(header)
    except MalformedHeader:
        return
    if '"' not in header:
        assert not any(mark in name for name in names for mark in ',;"\\ \t\x80')


@pytest.mark.timeout(30)
def test_no_text_takes_long() -> None:
    """The work grows with the length of the header, not with its square: this ends."""
    for unit in ("a=b;", 'a="', '"\\', "a= ", "\t", 'a="b",', "=,", "a="):
        for end in ("", '"', "x", "\x80"):
            with suppress(MalformedHeader):
                forwarded_names((unit * 24_000)[: 24 * 1024 - 1] + end)
