"""`waypost doctor`: with a running server, without one, on PostgreSQL, and with things that are wrong."""

import json
import socket
import stat
from datetime import UTC, datetime, timedelta

import pytest

from tests.kit.servers.running import waypost
from tests.kit.stores import postgresql
from waypost import testing
from waypost.host import certificates

# The DNS of these servers does not answer, which takes five seconds.
pytestmark = [pytest.mark.slow, pytest.mark.long]


def doctor(*arguments, code):
    """Run the command, and return its findings as pairs of a level and a text, by their subjects."""
    ended = waypost("doctor", "--json", *arguments)
    assert ended.returncode == code, ended.stdout + ended.stderr
    found = json.loads(ended.stdout)
    assert found["is_healthy"] == (code == 0)
    by_check = {}
    for one in found["findings"]:
        by_check.setdefault(one["check"], []).append((one["level"], one["text"]))
    return by_check


@pytest.fixture
def settings(tmp_path):
    """A function that writes a settings file, and returns the options that name it and the data directory."""

    def settings(text):
        file = tmp_path / "waypost.toml"
        file.write_text(text + "\n", encoding="utf-8")
        return ["--config", file, "--data", tmp_path / "data"]

    return settings


QUIET = 'http = "127.0.0.1:0"\nsmtp = "127.0.0.1:0"\ndns = "127.0.0.1:1"\n'


def test_a_running_server_is_healthy_and_is_not_changed(settings, tmp_path):
    with_settings = settings(QUIET)
    server = testing.Server(tmp_path / "data", "--config", str(with_settings[1]))
    server.start()
    try:
        files = {path: path.stat().st_mtime_ns for path in server.data.iterdir() if path.suffix == ".json"}
        found = doctor(*with_settings, code=0)
        assert found["server"] == [("ok", f"A server is using {server.data} (process {server.run.pid}).")]
        assert {level for level, _ in found["ports"]} == {"ok"}
        assert [text for _, text in found["ports"]] == [
            f"{server.run.http} (http) answers.",
            f"{server.run.smtp} (mail) answers.",
        ]
        assert found["permissions"] == [("ok", f"Other users cannot change {server.data}.")]
        assert found["database"] == [("ok", "The data is in SQLite.")]
        assert set(found) == {
            *("settings", "server", "ports", "permissions", "disk", "limits", "clock", "dns", "tls", "database")
        }
        assert {path: path.stat().st_mtime_ns for path in files} == files
    finally:
        server.stop()


def test_without_config_the_settings_file_of_the_running_server_is_used(settings, tmp_path):
    with_settings = settings(QUIET + f'[[route]]\nmatch = "*"\nto = "maildir:{tmp_path / "mail"}"\n')
    server = testing.Server(tmp_path / "data", "--config", str(with_settings[1]))
    server.start()
    try:
        found = doctor("--data", server.data, code=0)
        assert found["settings"] == [("ok", f"The settings in {with_settings[1]} are valid.")]
        assert "route * to maildir:" in found["routes"][0][1]
    finally:
        server.stop()


def test_the_addresses_of_the_roles_and_of_the_metrics_are_checked(settings):
    found = doctor(*settings(QUIET + 'metrics = "127.0.0.1:0"\nroles = "smtp"\n'), code=0)
    assert [text for _, text in found["ports"]] == ["127.0.0.1:0 (metrics) is free.", "127.0.0.1:0 (smtp) is free."]


def test_without_a_server_the_machine_is_checked_and_nothing_is_made(settings, tmp_path):
    found = doctor(*settings(QUIET), code=0)
    assert found["server"][0][0] == "warning"
    assert found["permissions"][0][0] == "warning"
    assert {level for level, _ in found["ports"]} == {"ok"}
    assert not (tmp_path / "data").exists()


def test_each_thing_that_is_wrong_is_named(settings, tmp_path):
    expired, key = certificates.self_signed("other.example", datetime.now(UTC) - timedelta(days=500))
    (tmp_path / "tls.pem").write_bytes(expired + key)
    (tmp_path / "tls.pem").chmod(0o644)
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data").chmod(0o777)
    with socket.socket() as taken, socket.socket() as closed:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        closed.bind(("127.0.0.1", 0))  # it does not listen, so connections are refused
        port = taken.getsockname()[1]
        text = (
            f'http = "127.0.0.1:0"\nsmtp = "127.0.0.1:{port}"\ndns = "127.0.0.1:1"\nhostname = "mx.example"\n'
            'disk_reserve = "100000GiB"\nsmtp_connections = 1000000\nhttp_connections = 1000000\n'
            'tls_certificate = "tls.pem"\n'
            f'[[route]]\nmatch = "*"\nto = "smtp://127.0.0.1:{closed.getsockname()[1]}"\n'
        )
        found = doctor(*settings(text), code=1)

    def problems(check, level="problem"):
        return [text for how, text in found[check] if how == level]

    assert f"Cannot listen on 127.0.0.1:{port}: Address already in use" in problems("ports")[0]
    assert "the server refuses mail" in problems("disk")[0]
    assert "Every user can write to the data directory" in problems("permissions")[0]
    assert "private key (mode 0644)" in problems("permissions", "warning")[0]
    assert "CN=other.example expired" in problems("tls")[0]
    assert "not for the server's name" in problems("tls", "warning")[0]
    assert "The DNS does not work" in problems("dns", "warning")[0]
    assert "Mail for the route * to smtp://127.0.0.1:" in problems("routes")[0]
    assert problems("limits", "warning") or found["limits"][0][0] == "ok"  # root may open any number of files
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o777


def test_a_mistake_in_the_settings_is_named(settings):
    ended = waypost("doctor", *settings("smtp_connections = 1"))
    assert ended.returncode == 1
    assert "line 1: `smtp_connections` must be a number" in ended.stderr


def test_the_settings_of_a_real_postgresql_server_are_checked(settings):
    url = postgresql.new_database()
    try:
        found = doctor(*settings(QUIET + f'database = "{url}"\ndatabase_connections = 9999'), code=1)
    finally:
        postgresql.drop_database(url)
    texts = [text for _, text in found["database"]]
    assert any("this server may open 9999" in text for text in texts)
    assert any(text.startswith("PostgreSQL 18") for text in texts)
    assert found["clock"][0][0] in {"ok", "warning"}  # the same clock


def test_a_database_that_does_not_answer_is_a_problem(settings):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"postgresql://waypost@127.0.0.1:{closed.getsockname()[1]}/waypost"
        found = doctor(*settings(QUIET + f'database = "{url}"'), code=1)
    assert found["database"][0][0] == "problem"
    assert "cannot be used" in found["database"][0][1]


def test_the_findings_for_people_have_one_line_each(settings):
    ended = waypost("doctor", *settings(QUIET))
    assert all(line.split()[0] in {"ok", "warning", "problem"} for line in ended.stdout.splitlines())
