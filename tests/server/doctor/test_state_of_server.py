"""What `waypost doctor` says about the settings, and about the server that uses a data directory."""

import pytest

from waypost.config import changes
from waypost.config.sources import from_options
from waypost.host.data_directory import DataDirectory
from waypost.host.run_file import Run
from waypost.server import settings_check, start_warnings
from waypost.server.assembly import spans
from waypost.server.doctor import facts
from waypost.server.doctor.checks import Finding, Level
from waypost.server.doctor.facts import CheckedServer


@pytest.fixture
def directory(tmp_path):
    """The data directory of a running server."""
    directory = DataDirectory(tmp_path / "data")
    directory.prepare()
    directory.announce(Run("127.0.0.1:1", "127.0.0.1:2", config="/etc/waypost.toml", pid=4711))
    yield directory
    directory.release()


def found(check, directory, **options):
    return list(check(CheckedServer.of(from_options(data=str(directory.path), **options))))


def test_a_server_that_was_killed_is_not_said_to_run(directory):
    (running,) = found(facts._server, directory)
    assert running == Finding("server", Level.OK, f"A server is using {directory.path} (process 4711).")
    directory._lock_file.close()  # as the system does when a process is killed
    (killed,) = found(facts._server, directory)
    assert killed.level is Level.WARNING
    assert "(process 4711) has ended, and its run.json is left over." in killed.text
    assert CheckedServer.of(from_options(data=str(directory.path))).run is None


def test_settings_with_which_the_server_does_not_start_are_a_problem(directory, monkeypatch):
    monkeypatch.setattr(settings_check.spans, "is_installed", lambda: False)
    first, *_ = found(facts._settings, directory, otel_traces="http://127.0.0.1:4318")
    assert first == Finding("settings", Level.PROBLEM, spans.NOT_INSTALLED)


def test_a_settings_file_of_the_server_that_was_not_read_is_named(directory):
    _, unread = found(facts._settings, directory)
    assert unread.level is Level.WARNING
    assert unread.text.startswith("/etc/waypost.toml, the server's settings file, cannot be used, so its routes and")
    assert len(found(facts._settings, directory, config="/etc/waypost.toml")) == 1


def test_a_held_queue_is_a_warning_even_if_the_setting_is_only_in_the_environment_of_the_server(directory):
    held = Finding("server", Level.WARNING, start_warnings.OF_HELD_QUEUE)
    assert held not in found(facts._server, directory)
    settings = from_options(data=str(directory.path), hold_queue="yes")
    directory.announce(Run("127.0.0.1:1", "127.0.0.1:2", settings=dict(changes.digests(settings))))
    assert held in found(facts._server, directory)
    directory.release()
    assert held in found(facts._server, directory, hold_queue="yes")
