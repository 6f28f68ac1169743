"""What the start of a server warns about."""

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
def test_trusted_networks_with_public_addresses_are_warned_about(networks, warned):
    told = start_warnings.of_settings(from_options(trusted_networks=networks, hostname="mail.example.com"))
    assert [sentence.split()[2].rstrip(",") for sentence in told] == warned


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
def test_a_host_name_without_a_domain_is_warned_about_where_other_machines_see_it(smtp, hostname, is_warned):
    told = start_warnings.of_settings(from_options(smtp=smtp, hostname=hostname))
    assert [sentence.startswith("The host name 'vm1' has no domain") for sentence in told] == [True] * is_warned


def test_a_misspelt_variable_is_told_with_the_one_that_is_meant():
    names = ["WAYPOST_SERVE_SMPT", "WAYPOST_SERVE_SMTP", "WAYPOST_MASTER_KEY", "WAYPOST_SERVE_QQQQQQQQQQQQQQQ", "PATH"]
    ignored = "is in the environment, but there is no such setting: it is ignored."
    assert start_warnings.of_environment(names) == [
        f"WAYPOST_SERVE_QQQQQQQQQQQQQQQ {ignored}",
        f"WAYPOST_SERVE_SMPT {ignored} Did you mean WAYPOST_SERVE_SMTP?",
    ]


def warned_at_the_start(settings, **given):
    """The sentences of a server that is started and stopped."""
    told = []

    async def scenario():
        service = Service(settings, warn=told.append, **given)
        await service.start()
        await service.stop()

    asyncio.run(scenario())
    return told


def at_any_port(tmp_path, **given):
    return from_options(data=str(tmp_path / "data"), http="127.0.0.1:0", smtp="127.0.0.1:0", **given)


def test_too_few_open_files_are_told_in_a_sentence_with_how_many_are_wanted(tmp_path):
    (told,) = warned_at_the_start(at_any_port(tmp_path), files=256)
    assert told == start_warnings.of_connections(Connections(10, 10), files=256, wanted=16_600)
    assert told.startswith("The system allows 256 open files, so at most 10 mail and 10 HTTP connections are taken.")


def test_a_reserve_that_the_disk_does_not_have_is_told_at_the_start(tmp_path):
    (told,) = warned_at_the_start(at_any_port(tmp_path, disk_reserve="100000GiB"))
    assert f"The disk of {tmp_path}/data has " in told
    assert told.endswith("--disk-reserve (102400000 MiB): no mail is taken until more is free.")
