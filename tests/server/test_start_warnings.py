"""The warnings at the start of a server."""

import asyncio

import pytest

from waypost.config.sources import from_options
from waypost.server import start_warnings
from waypost.server.open_files import Connections
from waypost.server.service import Service


@pytest.mark.parametrize(
    ("networks", "warned"),
    [
        ("", []),
        ("127.0.0.0/8,::1,10.0.0.0/8,192.168.7.0/24,fd00::/8", []),
        ("203.0.113.7", []),
        ("0.0.0.0/0", ["0.0.0.0/0"]),
        ("10.0.0.0/7", ["10.0.0.0/7"]),
        ("::/0,203.0.113.0/24", ["::/0", "203.0.113.0/24"]),
    ],
)
def test_the_server_warns_about_trusted_networks_with_public_addresses(networks, warned):
    warnings = start_warnings.of_settings(from_options(trusted_networks=networks, hostname="mail.example.com"))
    assert [sentence.split()[2].rstrip(",") for sentence in warnings] == warned


@pytest.mark.parametrize(
    ("smtp", "hostname", "is_warned"),
    [
        ("127.0.0.1:1025", "vm1", False),
        ("localhost:1025,[::1]:1025", "vm1", False),
        ("0.0.0.0:25", "mail.example.com", False),
        ("0.0.0.0:25", "vm1", True),
        ("127.0.0.1:25,[::]:25", "vm1", True),
    ],
)
def test_the_server_warns_about_a_host_name_without_a_domain_if_other_machines_see_it(smtp, hostname, is_warned):
    warnings = start_warnings.of_settings(from_options(smtp=smtp, hostname=hostname))
    assert [sentence.startswith("The host name 'vm1' has no domain") for sentence in warnings] == [True] * is_warned


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, ""),
        ({"tls_clients": "ca.pem", "tls_certificate": "a.pem", "tls_required": "yes"}, "no certificate"),
        ({"proxy_networks": "10.0.0.0/8,::1"}, ""),
        ({"proxy_networks": "10.0.0.0/8,127.0.0.1"}, "no PROXY header"),
    ],
)
def test_the_server_warns_about_probes_that_cannot_use_its_own_port(settings, reason):
    found = start_warnings.of_settings(from_options(probe_alias="probe@example.com", **settings))
    about_probes = [sentence for sentence in found if "--probe-alias" in sentence]
    assert len(about_probes) == bool(reason)
    assert all(reason in sentence for sentence in about_probes)
    assert not [each for each in start_warnings.of_settings(from_options(**settings)) if "--probe-alias" in each]


def test_the_warning_about_an_unknown_variable_names_the_most_similar_setting():
    names = ["WAYPOST_SERVE_SMPT", "WAYPOST_SERVE_SMTP", "WAYPOST_MASTER_KEY", "WAYPOST_SERVE_QQQQQQQQQQQQQQQ", "PATH"]
    ignored = "matches no setting. The server ignores this variable."
    assert start_warnings.of_environment(names) == [
        f"The environment variable WAYPOST_SERVE_QQQQQQQQQQQQQQQ {ignored}",
        f"The environment variable WAYPOST_SERVE_SMPT {ignored} Did you mean WAYPOST_SERVE_SMTP?",
    ]


def warnings_of_start(settings, **given):
    """Start and stop a server, and return its warnings."""
    warnings = []

    async def scenario():
        service = Service(settings, warn=warnings.append, **given)
        await service.start()
        await service.stop()

    asyncio.run(scenario())
    return warnings


def settings_with_free_ports(tmp_path, **given):
    return from_options(data=str(tmp_path / "data"), http="127.0.0.1:0", smtp="127.0.0.1:0", **given)


def test_the_warning_about_too_few_open_files_has_the_number_that_is_needed(tmp_path):
    (warning,) = warnings_of_start(settings_with_free_ports(tmp_path), files=256)
    assert warning == start_warnings.of_connections(Connections(10, 10), files=256, wanted=16_600)
    assert warning.startswith(
        "The system allows 256 open files, so the server accepts at most 10 mail connections and 10"
    )


def test_the_server_warns_at_the_start_if_the_disk_has_less_space_than_the_reserve(tmp_path):
    (warning,) = warnings_of_start(settings_with_free_ports(tmp_path, disk_reserve="100000GiB"))
    assert f"The disk of {tmp_path}/data has " in warning
    assert warning.endswith("--disk-reserve (102400000 MiB). The server refuses mail until more space is free.")
