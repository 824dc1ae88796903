"""Proves which names a certificate has."""

from __future__ import annotations

import ssl

import pytest
import trustme
from cryptography import x509

from gateway.api.client_certificate import choose_names, read_peer_certificate, read_pem_names
from tests.support.tls import CHECKOUT, issue

CA = trustme.CA()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"uris": [CHECKOUT]}, (CHECKOUT,)),
        ({"uris": [CHECKOUT, "https://example.org/x?y=1"]}, (CHECKOUT, "https://example.org/x?y=1")),
        ({"hosts": ["Billing.Example.ORG", "b.example.org"]}, ("billing.example.org", "b.example.org")),
        ({"uris": [CHECKOUT], "hosts": ["b.example.org"]}, (CHECKOUT,)),
        ({"common_name": CHECKOUT}, ()),
        ({"addresses": ["127.0.0.1"]}, ()),
        ({"hosts": ["*.example.org"]}, ()),
        ({"hosts": ["*", "*.example.org", "a.example.org"]}, ("a.example.org",)),
    ],
)
def test_names(names: dict[str, list[str]], expected: tuple[str, ...]) -> None:
    """URIs count, or else DNS names; a common name and an address never. `*` is in no name."""
    pem, _ = issue(CA, **names)  # type: ignore[arg-type]  # the values are of several types
    assert read_pem_names(pem) == expected


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe",
        "no scheme://x",
        "spiffe://a b",
        "spiffe://a\x00b",
        "spiffe://ä",
        "spiffe://" + "a" * 3000,
        "a:\n",
    ],
)
def test_what_is_no_uri(uri: str) -> None:
    """It is left out, and no DNS name comes in its place."""
    assert choose_names([uri], ["b.example.org"]) == ()


@pytest.mark.parametrize(
    "host", ["", ".", "a b", "a\x00.example.org", "a/b", "é.example.org", "a" * 300, "-a", "a."]
)
def test_what_is_no_host(host: str) -> None:
    """A name that no host has is left out."""
    assert choose_names([], [host, "b.example.org"]) == ("b.example.org",)


def test_peer_certificate() -> None:
    """The form in which Python has a connection's certificate says the same."""
    found = read_peer_certificate(
        {
            "subject": ((("commonName", "admin"),),),
            "notAfter": "Jan  5 09:34:43 2030 GMT",
            "subjectAltName": (("DNS", "b.example.org"), ("email", "a@example.org"), ("URI", CHECKOUT)),
        }
    )
    assert found.names == (CHECKOUT,)
    assert found.expires == ssl.cert_time_to_seconds("Jan  5 09:34:43 2030 GMT")
    assert read_peer_certificate(None).names == read_peer_certificate({}).names == ()


def test_not_a_certificate() -> None:
    """Garbage is a ValueError, not something else."""
    for pem in (b"", b"x", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        with pytest.raises(ValueError, match=r".*"):
            read_pem_names(pem)


def test_many_names() -> None:
    """A certificate with thousands of names has some of them only."""
    assert len(choose_names([f"spiffe://mesh/{number}" for number in range(5000)], [])) == 32


def test_the_support_makes_what_it_says() -> None:
    """A certificate of the tests has its common name, so that ignoring it proves something."""
    pem, _ = issue(CA, common_name=CHECKOUT)
    assert x509.load_pem_x509_certificate(pem).subject.rfc4514_string() == f"CN={CHECKOUT}"
