"""Which pages in a browser may ask the inspection API: those of this server alone, by a name that leads here."""

import pytest

from waypost.inspection.origins import refusal

NAMES = frozenset({"waypost.example", "mail"})
BY_NAME = "The inspection API does not answer to the name"
BY_SITE = "A page of another origin"

ALLOWED = {
    "an IPv4 address": {"host": "192.0.2.7"},
    "an IPv4 address with a port": {"host": "127.0.0.1:8025"},
    "an IPv6 address": {"host": "[::1]"},
    "an IPv6 address with a port": {"host": "[2001:db8::1]:8025"},
    "localhost": {"host": "localhost:8025"},
    "localhost in capitals": {"host": "LOCALHOST"},
    "a name under localhost": {"host": "waypost.localhost:8025"},
    "a name of ours": {"host": "waypost.example"},
    "a name of ours in capitals, with a dot at its end": {"host": "Waypost.Example.:443"},
    "a name without a dot": {"host": "mail:8025"},
    "no Host, as in HTTP/1.0": {},
    "an empty Host": {"host": ""},
    "typed by the user": {"host": "localhost", "sec-fetch-site": "none"},
    "a page of ours": {"host": "localhost:8025", "sec-fetch-site": "same-origin", "origin": "http://localhost:8025"},
    "a page of ours, in an older browser": {"host": "localhost:8025", "origin": "http://localhost:8025"},
    "a page of ours, at the usual port": {"host": "waypost.example", "origin": "https://waypost.example"},
    "a page of ours, with the usual port": {"host": "waypost.example:443", "origin": "https://waypost.example"},
    "a page of ours, behind a proxy that has another Host": {
        "host": "127.0.0.1:8025",
        "origin": "https://waypost.example",
    },
    "the same, in a newer browser": {
        "host": "10.0.0.7:8025",
        "origin": "https://waypost.example",
        "sec-fetch-site": "same-origin",
    },
}

REFUSED = {
    "a name that somebody else has made lead here": ({"host": "evil.example:8025"}, BY_NAME),
    "the same, with a page of it": (
        {"host": "evil.example", "sec-fetch-site": "same-origin", "origin": "http://evil.example"},
        BY_NAME,
    ),
    "a name that begins as one of ours": ({"host": "waypost.example.evil.example"}, BY_NAME),
    "a name that ends as one of ours": ({"host": "evilwaypost.example"}, BY_NAME),
    "a name that ends in localhost, without a dot": ({"host": "evillocalhost"}, BY_NAME),
    "a name that begins as an address": ({"host": "127.0.0.1.evil.example"}, BY_NAME),
    "a page of another site": ({"host": "localhost", "sec-fetch-site": "cross-site"}, BY_SITE),
    "a page of another port": ({"host": "localhost:8025", "sec-fetch-site": "same-site"}, BY_SITE),
    "a page of a site that says something new": ({"host": "localhost", "sec-fetch-site": "neighbour"}, BY_SITE),
    "a page of another site, in an older browser": ({"host": "localhost", "origin": "http://evil.example"}, BY_SITE),
    "a page of another port, in an older browser": (
        {"host": "localhost:8025", "origin": "http://localhost:3000"},
        BY_SITE,
    ),
    "a page without an origin": ({"host": "localhost", "origin": "null"}, BY_SITE),
    "a page that names ours in its own": ({"host": "localhost", "origin": "http://waypost.example.evil"}, BY_SITE),
    "a user name in the origin": ({"host": "localhost", "origin": "http://waypost.example@evil.example"}, BY_SITE),
}


@pytest.mark.parametrize("headers", ALLOWED.values(), ids=ALLOWED)
def test_the_inspection_api_is_asked_by_programs_and_by_its_own_pages(headers):
    assert refusal(headers, NAMES) is None


@pytest.mark.parametrize(("headers", "because"), REFUSED.values(), ids=REFUSED)
def test_a_page_from_elsewhere_is_refused(headers, because):
    assert because in refusal(headers, NAMES)
