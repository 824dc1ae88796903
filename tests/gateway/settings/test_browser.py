"""Proves how the names of the gateway, and the origins that may call it, are read."""

from __future__ import annotations

import pytest

from gateway import settings

HOSTS = "GATEWAY_ALLOWED_HOSTS"
ORIGINS = "GATEWAY_ALLOWED_ORIGINS"


def test_nothing_is_allowed_unless_it_is_set() -> None:
    """The gateway has no name but localhost, and no page of another origin may call it."""
    browser = settings.load({}).browser
    assert (browser.allowed_hosts, browser.allowed_origins) == ((), ())


def test_hosts_are_kept_in_lower_case_and_once() -> None:
    """Names in DNS have no case."""
    loaded = settings.load({HOSTS: "Models.Example.org, models.example.org,*.Example.ORG:8443,*"})
    assert loaded.browser.allowed_hosts == ("models.example.org", "*.example.org:8443", "*")


def test_origins_are_kept_as_browsers_send_them() -> None:
    """A browser leaves out the port that the scheme has anyway."""
    words = (
        "https://a.example:443,https://a.example,http://a.example:80,https://a.example:80,http://[::1]:3000"
    )
    assert settings.load({ORIGINS: words}).browser.allowed_origins == (
        "https://a.example",
        "http://a.example",
        "https://a.example:80",
        "http://[::1]:3000",
    )


@pytest.mark.parametrize(
    "word",
    [
        "http://a.example",
        "a.example/",
        "a b",
        "*example.org",
        "a.*.org",
        "**",
        ".a",
        "a.",
        "a:65536",
        "a:",
        "ä.org",
    ],
)
def test_what_is_no_host(word: str) -> None:
    """The operator learns it at the start, with the form of a right one."""
    with pytest.raises(settings.SettingsError, match="is not a name such as"):
        settings.load({HOSTS: word})


@pytest.mark.parametrize(
    "word",
    [
        "*",
        "null",
        "a.example",
        "https://a.example/",
        "https://a.example/path",
        "https://A.example",
        "https://*.a.example",
        "ftp://a.example",
        "https://u@a.example",
        "https://a.example:65536",
        "https://",
    ],
)
def test_what_is_no_origin(word: str) -> None:
    """It would never be equal to what a browser sends; and no wildcard is one."""
    with pytest.raises(settings.SettingsError, match="is not an origin such as"):
        settings.load({ORIGINS: word})
