"""The checks of `waypost doctor`: what they conclude from what was read."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from waypost.server.doctor import checks
from waypost.server.doctor.checks import Certificate, Level, Port

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
GIB = 2**30


def worst(findings):
    """Return the most serious level among findings, and the text with that level."""
    found = sorted(findings, key=lambda one: list(Level).index(one.level))
    return (found[-1].level, found[-1].text) if found else (None, "")


@pytest.mark.parametrize(
    ("error", "is_running", "level", "words"),
    [
        ("", True, Level.OK, "127.0.0.1:25 (smtp) answers."),
        ("", False, Level.OK, "127.0.0.1:25 (smtp) is free."),
        ("Connection refused", True, Level.PROBLEM, "does not answer at 127.0.0.1:25 (smtp): Connection refused."),
        ("Cannot listen on 127.0.0.1:25: Permission denied.", False, Level.PROBLEM, "Permission denied."),
    ],
)
def test_ports(error, is_running, level, words):
    found = worst(checks.ports([Port("smtp", "127.0.0.1:25", error)], is_running=is_running))
    assert found[0] is level
    assert words in found[1]


@pytest.mark.parametrize(
    ("free", "free_files", "level"),
    [
        (GIB - 1, None, Level.PROBLEM),
        (4 * GIB - 1, None, Level.WARNING),
        (4 * GIB, None, Level.OK),
        (4 * GIB, 999, Level.PROBLEM),
        (4 * GIB, 1000, Level.OK),
    ],
)
def test_disk(free, free_files, level):
    assert worst(checks.disk("/data", free=free, reserve=GIB, free_files=free_files))[0] is level


@pytest.mark.parametrize(
    ("is_synchronized", "ahead", "level", "words"),
    [
        (True, None, Level.OK, "The clock is synchronized."),
        (None, None, Level.OK, "not known"),
        (False, None, Level.WARNING, "chrony"),
        (True, 2.0, Level.OK, ""),
        (True, 2.1, Level.WARNING, "2.1 s ahead of the clock of the database server"),
        (False, -7.0, Level.WARNING, "7.0 s behind"),
        (True, 30.0, Level.WARNING, "30.0 s ahead"),
        (True, 30.1, Level.PROBLEM, "30.1 s ahead"),
        (False, -31.0, Level.PROBLEM, "31.0 s behind"),
    ],
)
def test_clock(is_synchronized, ahead, level, words):
    found = worst(checks.clock(is_synchronized=is_synchronized, ahead_of_database=ahead))
    assert found[0] is level
    assert words in found[1]


@pytest.mark.parametrize(
    ("error", "is_failure", "is_public", "level"),
    [
        ("", False, True, Level.OK),
        ("it does not exist", False, True, Level.WARNING),
        ("it does not exist", False, False, Level.OK),
        ("no answer", True, True, Level.PROBLEM),
        ("no answer", True, False, Level.WARNING),
    ],
)
def test_dns(error, is_failure, is_public, level):
    assert worst(checks.dns("mx.example", is_public=is_public, error=error, is_failure=is_failure))[0] is level


OWN = Certificate("CN=mx.example", "CN=between", NOW - DAY, NOW + 90 * DAY, ["mx.example"])
BETWEEN = Certificate("CN=between", "CN=root", NOW - DAY, NOW + 900 * DAY)


@pytest.mark.parametrize(
    ("chain", "level", "words"),
    [
        ([OWN, BETWEEN], Level.OK, "valid until 2027-03-01"),
        ([], Level.OK, "no certificate file"),
        ([replace(OWN, not_after=NOW)], Level.PROBLEM, "expired on 2026-12-01"),
        ([replace(OWN, not_after=NOW + 13 * DAY)], Level.WARNING, "expires in 13 days"),
        ([replace(OWN, not_before=NOW + DAY)], Level.PROBLEM, "not valid before 2026-12-02 12:00Z"),
        ([OWN, replace(BETWEEN, not_after=NOW - DAY)], Level.PROBLEM, "CN=between expired"),
        ([OWN, replace(BETWEEN, subject="CN=other")], Level.PROBLEM, "order of the chain"),
        ([replace(OWN, names=["www.example"])], Level.WARNING, "for www.example, but not for"),
        ([replace(OWN, names=["*.example"])], Level.OK, "valid until"),
        ([replace(OWN, names=["*.mx.example"])], Level.WARNING, "but not for"),
    ],
)
def test_tls(chain, level, words):
    found = worst(checks.tls(chain, hostname="mx.example", error="", now=NOW))
    assert found[0] is level
    assert words in found[1]


def test_the_certificate_for_https_may_be_for_another_name_that_browsers_use():
    chain = [replace(OWN, names=["console.example"])]
    found = list(checks.tls(chain, hostname="mx.example", names=["console.example"], error="", now=NOW, of="for HTTPS"))
    assert [each.level for each in found] == [Level.OK]
    assert found[0].text.startswith("The certificate for HTTPS is valid until ")
    found = worst(checks.tls(chain, hostname="mx.example", names=["other.example"], error="", now=NOW, of="for HTTPS"))
    assert found[0] is Level.WARNING
    assert found[1].endswith("the server's name (--hostname), mx.example or a name of --http-names.")


def test_a_certificate_that_cannot_be_used_is_a_problem():
    assert worst(checks.tls([], hostname="mx.example", error="x.pem cannot be read.", now=NOW)) == (
        Level.PROBLEM,
        "x.pem cannot be read.",
    )


@pytest.mark.parametrize(("limit", "level"), [(99, Level.WARNING), (100, Level.OK), (float("inf"), Level.OK)])
def test_open_files(limit, level):
    assert worst(checks.open_files(limit, needed=100))[0] is level


@pytest.mark.parametrize(
    ("mode", "level"), [(0o600, None), (0o640, None), (0o644, Level.WARNING), (0o602, Level.WARNING)]
)
def test_key_file(mode, level):
    assert worst(checks.key_file("key.pem", mode))[0] is level


@pytest.mark.parametrize(
    ("problem", "exists", "level"),
    [("", True, Level.OK), ("", False, Level.WARNING), ("Every user can write to it.", True, Level.PROBLEM)],
)
def test_data_directory(problem, exists, level):
    assert worst(checks.data_directory(problem, exists=exists, path="/data"))[0] is level


POSTGRESQL = {
    "server_version": "18.1",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "max_connections": "100",
    "reserved_connections": "3",
    "other_connections": "0",
}


@pytest.mark.parametrize(
    ("changed", "connections", "level", "words"),
    [
        ({}, 97, Level.OK, "PostgreSQL 18.1 can be reached."),
        ({}, 98, Level.PROBLEM, "allows 97 connections"),
        ({"other_connections": "81"}, 16, Level.OK, ""),
        ({"other_connections": "82"}, 16, Level.WARNING, "other programs use 82"),
        ({"fsync": "off"}, 16, Level.PROBLEM, "Set fsync = on."),
        ({"full_page_writes": "off"}, 16, Level.PROBLEM, "Set full_page_writes = on."),
        ({"synchronous_commit": "off"}, 16, Level.WARNING, "synchronous_commit is off"),
        ({"synchronous_commit": "remote_apply"}, 16, Level.OK, ""),
    ],
)
def test_postgresql(changed, connections, level, words):
    found = worst(checks.postgresql(POSTGRESQL | changed, connections=connections))
    assert found[0] is level
    assert words in found[1]


def test_routes():
    found = list(
        checks.routes(
            {"*@a to inbox": "", "*@b to lmtp://b": "lmtp://b cannot be reached: refused", "*@c to mx:": None}
        )
    )
    assert [one.level for one in found] == [Level.OK, Level.PROBLEM, Level.WARNING]
    assert found[1].text == "lmtp://b cannot be reached: refused. Mail for the route *@b to lmtp://b waits."
    assert found[2].text.startswith("The route *@c to mx: was not checked, because the checks of all routes took too")
