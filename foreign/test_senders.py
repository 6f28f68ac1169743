"""Exim and OpenSMTPD, each in a Debian root of its own, bring mail; the other senders are in tests/e2e."""

import pytest

from foreign import roots
from tests.e2e.conftest import house as house_in_clear  # noqa: F401 - a fixture
from tests.e2e.mail import test_real_senders as real_senders
from tests.e2e.mail.test_real_senders import how, tls_house  # noqa: F401 - fixtures


@pytest.fixture
def house(request, how):  # noqa: F811 - a fixture is its argument's name
    return request.getfixturevalue("tls_house" if how == "starttls" else "house_in_clear")


@pytest.mark.skipif(roots.why_not("exim") is not None, reason=str(roots.why_not("exim")))
def test_exim(house, how):  # noqa: F811
    with roots.directory("exim") as directory:
        real_senders.relay_by_exim(house, how, directory / "exim", command=roots.command("exim", "/usr/sbin/exim4"))


@pytest.mark.skipif(roots.why_not("opensmtpd") is not None, reason=str(roots.why_not("opensmtpd")))
def test_opensmtpd(house, how):  # noqa: F811
    command = roots.command("opensmtpd", "/usr/sbin/smtpd")
    with roots.directory("opensmtpd") as directory:
        real_senders.relay_by_opensmtpd(house, how, directory / "smtpd", command=command)
