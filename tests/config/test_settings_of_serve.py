"""Where a setting of `waypost serve` is from: the command line, the environment, the file, or it is the default."""

import sys
from datetime import timedelta

import pytest

from waypost import cli
from waypost.config.settings import BadSetting, Settings, duration, size
from waypost.config.settings_file import SettingsFile
from waypost.domain.mail.routes import Route
from waypost.server import assembly


class Given(SystemExit):
    """What a service was made of; nothing is started."""

    def __init__(self, settings, file):
        super().__init__(0)
        self.settings, self.file = settings, file


@pytest.fixture
def serve(monkeypatch):
    """Run `waypost serve` as far as to its settings."""

    def service(settings, file, **_):
        raise Given(settings, file)

    def serve(*arguments, **environment):
        with monkeypatch.context() as patch:
            patch.setattr(assembly, "Service", service)
            patch.setattr(sys, "argv", ["waypost", "serve", *map(str, arguments)])
            for name, value in environment.items():
                patch.setenv(f"WAYPOST_SERVE_{name}", str(value))
            with pytest.raises(SystemExit) as ended:
                cli.main()
        return ended.value

    return serve


@pytest.fixture
def file(tmp_path):
    """A settings file with this text."""

    def file(text):
        path = tmp_path / "waypost.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return file


def test_without_a_file_all_is_as_by_default(serve):
    given = serve()
    assert given.settings == Settings()
    assert given.file == SettingsFile()


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(serve, file):
    path = file('hostname = "file.example"')
    assert serve("--config", path).settings.hostname == "file.example"
    assert serve("--config", path, HOSTNAME="environment.example").settings.hostname == "environment.example"
    given = serve("--config", path, "--hostname", "line.example", HOSTNAME="environment.example")
    assert given.settings.hostname == "line.example"


def test_our_own_name_has_no_final_dot(serve):
    assert serve("--hostname", "mail.example.com.").settings.real_hostname == "mail.example.com"


def test_what_the_file_does_not_say_is_as_by_default(serve, file):
    path = file("smtp-memory = 64\ntls_required = false\n")
    assert serve("--config", path).settings == Settings(config=str(path), smtp_memory="64")


def test_the_file_may_be_named_in_the_environment(serve, file):
    path = file('clock = "virtual"')
    assert serve(CONFIG=path).settings == Settings(config=str(path), clock="virtual")


def test_the_rest_of_the_file_reaches_the_service(serve, file):
    given = serve("--config", file('[[route]]\nmatch = "*"\nto = "smtp://a"\n'))
    assert given.file == SettingsFile(routes=(Route(match="*", to="smtp://a"),))


def test_a_value_of_the_file_that_cannot_be_is_told_with_the_name_of_the_file(serve, file, capsys):
    path = file("smtp-memory = 9")
    assert serve("--config", path).code == 1
    said = "--smtp-memory must be a number from 16 to 1000000, not '9'\n"
    assert capsys.readouterr().err == f"waypost: {path}: `smtp_memory`: {said}"
    assert serve("--config", path, "--smtp-memory", "9").code == 1
    assert capsys.readouterr().err == f"waypost: {said}"


def test_a_file_that_is_not_there_is_told(serve, tmp_path, capsys):
    assert serve("--config", tmp_path / "none").code == 1
    assert capsys.readouterr().err == f"waypost: {tmp_path / 'none'} cannot be read: No such file or directory\n"


BAD = {
    "http_connections": ["", "9", "1000001", "many"],
    "http_connections_each": ["", "0", "1000001"],
    "http_names": ["waypost.example:8025", "http://waypost.example", "*.example", "a b", "[::1]", "-" * 256],
    "clock": ["", "Virtual", "fake"],
    "disk_reserve": ["", "256MB", "1.5GiB", "-1", "256 MiB", "1TiB", "٢KiB", "1" * 19],
    "trace_refusals": ["", "7", "0d", "7w", "3651d"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_value_that_cannot_be_is_refused_with_the_name_of_the_option(name, value):
    with pytest.raises(BadSetting) as refused:
        Settings(**{name: value})
    assert str(refused.value).startswith(f"--{name.replace('_', '-')} must be ")
    assert repr(value) in str(refused.value)


def test_good_values_are_understood():
    settings = Settings(clock="virtual", disk_reserve="0", trace_refusals="90m")
    assert (settings.has_virtual_clock, settings.disk_reserve_octets) == (True, 0)
    assert settings.refusal_retention == timedelta(minutes=90)
    assert (Settings().has_virtual_clock, Settings().disk_reserve_octets) == (False, 256 * 1024 * 1024)
    assert Settings().refusal_retention == timedelta(days=7)


@pytest.mark.parametrize(
    ("text", "octets"), [("0", 0), ("1", 1), ("1048576", 2**20), ("3KiB", 3072), ("2MiB", 2**21), ("1GiB", 2**30)]
)
def test_a_size_is_in_octets_or_in_binary_units(text, octets):
    assert size("disk-reserve", text) == octets


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("12h", 43200), ("7d", 604800)])
def test_a_duration_has_a_unit(text, seconds):
    assert duration("expire", text) == timedelta(seconds=seconds)
