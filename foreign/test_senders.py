"""Tests that Exim and OpenSMTPD can send mail to Waypost; tests of other senders are in tests/e2e."""

import pytest

from foreign import roots
from tests.e2e.conftest import system as system_in_clear  # noqa: F401 - a fixture
from tests.e2e.mail import test_real_senders as real_senders
from tests.e2e.mail.test_real_senders import how, tls_system  # noqa: F401 - fixtures


@pytest.fixture
def system(request, how):  # noqa: F811 - a fixture is its argument's name
    return request.getfixturevalue("tls_system" if how == "starttls" else "system_in_clear")


@pytest.mark.skipif(roots.why_not("exim") is not None, reason=str(roots.why_not("exim")))
def test_exim_can_send_mail_to_waypost(system, how):  # noqa: F811
    with roots.directory("exim") as directory:
        real_senders.relay_by_exim(system, how, directory / "exim", command=roots.command("exim", "/usr/sbin/exim4"))


@pytest.mark.skipif(roots.why_not("opensmtpd") is not None, reason=str(roots.why_not("opensmtpd")))
def test_opensmtpd_can_send_mail_to_waypost(system, how):  # noqa: F811
    command = roots.command("opensmtpd", "/usr/sbin/smtpd")
    with roots.directory("opensmtpd") as directory:
        real_senders.relay_by_opensmtpd(system, how, directory / "smtpd", command=command)
