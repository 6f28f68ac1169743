"""The names in a certificate, and its dates."""

from datetime import UTC, datetime, timedelta

import pytest

from waypost.net.certificates import CertificateFacts, covers
from waypost.server import start_warnings

NOW = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("names", "wanted", "host"),
    [
        (["a.example", "127.0.0.1"], ["127.0.0.1", "a.example"], "127.0.0.1"),
        (["a.example", "127.0.0.1"], ["a.example", "127.0.0.1"], "a.example"),
        (["*.example"], ["127.0.0.1", "b.example"], "b.example"),
        (["*.example", "a.example"], ["127.0.0.1", "host"], "a.example"),
        (["*.example"], ["127.0.0.1", "host"], "127.0.0.1"),
        ([], ["host", "127.0.0.1"], "host"),
    ],
)
def test_urls_have_a_host_for_which_the_certificate_is_valid(names, wanted, host):
    assert CertificateFacts(NOW, NOW, names).host_for(*wanted) == host


@pytest.mark.parametrize(
    ("pattern", "name", "does"),
    [
        ("A.example", "a.EXAMPLE", True),
        ("*.example", "a.example", True),
        ("*.example", "a.b.example", False),
        ("*.example", "example", False),
        ("a.example", "b.example", False),
    ],
)
def test_a_pattern_stands_for_one_label(pattern, name, does):
    assert covers(pattern, name) is does


@pytest.mark.parametrize(
    ("begins", "ends", "why"),
    [
        (-1, 1, ""),
        (-2, 0, "it expired on 2026-12-01 00:00Z"),
        (1, 2, "it is not valid before 2026-12-02 00:00Z"),
        (0, 1, ""),
    ],
)
def test_the_dates_of_a_certificate(begins, ends, why):
    day = timedelta(days=1)
    assert start_warnings.why_not_valid(NOW + begins * day, NOW + ends * day, NOW) == why
