"""The inspection API and the console accept requests of web pages only if the pages are from this server, under one of
its host names.
"""

import pytest

from waypost.net.origins import refusal

NAMES = frozenset({"waypost.example", "mail"})
BY_NAME = "The inspection API refuses the host name"
BY_SITE = "The inspection API refuses requests from web pages of another origin"

ALLOWED = {
    "an IPv4 address": {"host": "192.0.2.7"},
    "an IPv4 address with a port": {"host": "127.0.0.1:8025"},
    "an IPv6 address": {"host": "[::1]"},
    "an IPv6 address with a port": {"host": "[2001:db8::1]:8025"},
    "localhost": {"host": "localhost:8025"},
    "localhost in capitals": {"host": "LOCALHOST"},
    "a name under localhost": {"host": "waypost.localhost:8025"},
    "an own name": {"host": "waypost.example"},
    "an own name in capitals, with a dot at its end": {"host": "Waypost.Example.:443"},
    "a name without a dot": {"host": "mail:8025"},
    "no Host, as in HTTP/1.0": {},
    "an empty Host": {"host": ""},
    "a URL that the user typed": {"host": "localhost", "sec-fetch-site": "none"},
    "an own page": {"host": "localhost:8025", "sec-fetch-site": "same-origin", "origin": "http://localhost:8025"},
    "an own page, in an older browser": {"host": "localhost:8025", "origin": "http://localhost:8025"},
    "an own page, without the default port": {"host": "waypost.example", "origin": "https://waypost.example"},
    "an own page, with the default port": {"host": "waypost.example:443", "origin": "https://waypost.example"},
    "an own page, behind a proxy that changes Host": {
        "host": "127.0.0.1:8025",
        "origin": "https://waypost.example",
    },
    "an own page, behind a proxy, in a newer browser": {
        "host": "10.0.0.7:8025",
        "origin": "https://waypost.example",
        "sec-fetch-site": "same-origin",
    },
}

REFUSED = {
    "another site's name that resolves to this server": ({"host": "evil.example:8025"}, BY_NAME),
    "another site's name that resolves to this server, and a page of that site": (
        {"host": "evil.example", "sec-fetch-site": "same-origin", "origin": "http://evil.example"},
        BY_NAME,
    ),
    "a name that begins with an own name": ({"host": "waypost.example.evil.example"}, BY_NAME),
    "a name that ends with an own name": ({"host": "evilwaypost.example"}, BY_NAME),
    "a name that ends in localhost, without a dot": ({"host": "evillocalhost"}, BY_NAME),
    "a name that begins with an IP address": ({"host": "127.0.0.1.evil.example"}, BY_NAME),
    "a page of another site": ({"host": "localhost", "sec-fetch-site": "cross-site"}, BY_SITE),
    "a page of another port": ({"host": "localhost:8025", "sec-fetch-site": "same-site"}, BY_SITE),
    "an unknown value of Sec-Fetch-Site": ({"host": "localhost", "sec-fetch-site": "neighbour"}, BY_SITE),
    "a page of another site, in an older browser": ({"host": "localhost", "origin": "http://evil.example"}, BY_SITE),
    "a page of another port, in an older browser": (
        {"host": "localhost:8025", "origin": "http://localhost:3000"},
        BY_SITE,
    ),
    "a page without an origin": ({"host": "localhost", "origin": "null"}, BY_SITE),
    "an origin that begins with an own name": ({"host": "localhost", "origin": "http://waypost.example.evil"}, BY_SITE),
    "a user name in the origin": ({"host": "localhost", "origin": "http://waypost.example@evil.example"}, BY_SITE),
}


@pytest.mark.parametrize("headers", ALLOWED.values(), ids=ALLOWED)
def test_a_request_from_a_program_or_from_an_own_page_is_accepted(headers):
    assert refusal(headers, NAMES, of="The inspection API") is None


@pytest.mark.parametrize(("headers", "because"), REFUSED.values(), ids=REFUSED)
def test_a_request_from_a_page_of_another_site_is_refused(headers, because):
    assert because in refusal(headers, NAMES, of="The inspection API")
