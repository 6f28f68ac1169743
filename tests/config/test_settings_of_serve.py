"""The sources of the settings of `waypost serve`: the command line, the environment, the file, and the defaults."""

import sys
from datetime import timedelta

import pytest

from waypost import cli
from waypost.config.settings import Clock, Settings
from waypost.config.sources import from_options
from waypost.config.types import DURATION, SIZE, BadSetting
from waypost.domain.mail.routes import Route
from waypost.server import service as services


class NotStarted(SystemExit):
    """Raised instead of starting a service, with the settings of that service."""

    def __init__(self, settings):
        super().__init__(0)
        self.settings = settings


@pytest.fixture
def serve(monkeypatch):
    """A function that runs `waypost serve` until the settings are complete, without starting the server."""

    def service(settings, **_):
        raise NotStarted(settings)

    def serve(*arguments, **environment):
        with monkeypatch.context() as patch:
            patch.setattr(services, "Service", service)
            patch.setattr(sys, "argv", ["waypost", "serve", *map(str, arguments)])
            for name, value in environment.items():
                patch.setenv(f"WAYPOST_SERVE_{name}", str(value))
            with pytest.raises(SystemExit) as ended:
                cli.main()
        return ended.value

    return serve


@pytest.fixture
def file(tmp_path):
    """A function that writes a settings file with a given text."""

    def file(text):
        path = tmp_path / "waypost.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return file


def test_without_a_file_all_settings_have_their_defaults(serve):
    assert serve().settings == Settings()


def test_the_command_line_overrides_the_environment_which_overrides_the_file(serve, file):
    path = file('hostname = "file.example"')
    assert serve("--config", path).settings.hostname == "file.example"
    assert serve("--config", path, HOSTNAME="environment.example").settings.hostname == "environment.example"
    given = serve("--config", path, "--hostname", "line.example", HOSTNAME="environment.example")
    assert given.settings.hostname == "line.example"


def test_the_host_name_of_the_server_has_no_final_dot(serve):
    assert serve("--hostname", "mail.example.com.").settings.real_hostname == "mail.example.com"


def test_settings_that_are_not_in_the_file_have_their_defaults(serve, file):
    path = file("smtp-memory = 64\ntls_required = false\n")
    assert serve("--config", path).settings == Settings(config=path, smtp_memory=64 * 2**20)


def test_the_settings_file_may_be_given_in_the_environment(serve, file):
    path = file('clock = "virtual"')
    assert serve(CONFIG=path).settings == Settings(config=path, clock=Clock.VIRTUAL)


def test_the_routes_of_the_file_reach_the_service(serve, file):
    path = file('[[route]]\nmatch = "*"\nto = "smtp://a"\n')
    assert serve("--config", path).settings == Settings(config=path, routes=(Route(match="*", to="smtp://a"),))


def test_the_message_for_an_invalid_value_names_its_source(serve, file, capsys):
    path = file('clock = "real"\n\nsmtp-memory = 9\n')
    message = "must be a number of MiB from 16 to 1000000, not '9'\n"
    assert serve("--config", path).code == 1
    assert capsys.readouterr().err == f"waypost: {path}, line 3: `smtp_memory` {message}"
    assert serve("--config", path, SMTP_MEMORY="9").code == 1
    assert capsys.readouterr().err == f"waypost: WAYPOST_SERVE_SMTP_MEMORY {message}"
    assert serve("--config", path, "--smtp-memory", "9", SMTP_MEMORY="256").code == 1
    assert capsys.readouterr().err == f"waypost: --smtp-memory {message}"


def test_the_message_for_contradicting_settings_names_the_source(serve, file, capsys):
    path = file('\nsmtps = "127.0.0.1:0"\n')
    assert serve("--config", path).code == 1
    assert capsys.readouterr().err == f"waypost: {path}, line 2: `smtps` needs --tls-certificate\n"
    assert serve(TLS_REQUIRED="yes").code == 1
    assert capsys.readouterr().err == "waypost: WAYPOST_SERVE_TLS_REQUIRED yes needs --tls-certificate\n"


HTTPS = {"https": "127.0.0.1:0", "https_certificate": "fullchain.pem"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"http": "off"}, "--http off needs --https: otherwise, the server has no address for the API"),
        ({"https": "127.0.0.1:0"}, "--https needs --https-certificate or --tls-certificate"),
        ({"https_certificate": "x.pem"}, "--https-certificate needs --https"),
        ({"https_key": "x.pem"}, "--https-key needs --https"),
        ({"https_authority": "x.pem"}, "--https-authority needs --https"),
        (
            {"https": "127.0.0.1:0", "tls_certificate": "x.pem", "https_key": "x.pem"},
            "--https-key needs --https-certificate with a file",
        ),
        (
            HTTPS | {"https_certificate": "self-signed", "https_key": "x.pem"},
            "--https-key needs --https-certificate with a file",
        ),
        (
            HTTPS | {"https_certificate": "self-signed", "https_authority": "x.pem"},
            "--https-authority cannot be given with the certificate self-signed, which is its own authority",
        ),
    ],
    ids=str,
)
def test_contradicting_settings_of_https_are_refused(given, said):
    with pytest.raises(BadSetting) as refused:
        from_options(**given)
    assert str(refused.value) == said


def test_http_can_be_off():
    assert from_options(**HTTPS, http="off").http is None
    assert from_options(**HTTPS, http="off").endpoints["http"] == ()
    assert from_options(**HTTPS, http="off", roles="smtp").http_endpoints == {}


@pytest.mark.parametrize(
    ("given", "is_only"),
    [
        ({"https": "0.0.0.0:443"}, True),
        ({"https": "0.0.0.0:8443,[::]:443", "http": "off"}, True),
        ({"https": "0.0.0.0:8443"}, False),
        ({"https": "0.0.0.0:443", "http": "0.0.0.0:80"}, False),
        ({"https": "0.0.0.0:443", "https_certificate": "self-signed"}, False),
    ],
    ids=str,
)
def test_browsers_may_remember_https_if_nothing_else_can_be_on_the_host_name(given, is_only):
    assert from_options(**HTTPS | given).is_https_only is is_only


def test_the_message_for_an_invalid_database_url_does_not_repeat_it(serve, file, capsys):
    url = "mysql://me:hunter2@db.example/waypost"
    for given, variables in (
        (("--config", file(f'database = "{url}"')), {}),
        ((), {"DATABASE": url}),
        (("--database", url), {}),
    ):
        assert serve(*given, **variables).code == 1
        message = capsys.readouterr().err
        assert "must be a URL such as postgresql://USER@HOST/NAME" in message
        assert "hunter2" not in message
    assert "hunter2" not in repr(from_options(database="postgresql://me:hunter2@db.example/waypost"))


def test_the_message_for_a_missing_settings_file_names_it(serve, tmp_path, capsys):
    assert serve("--config", tmp_path / "none").code == 1
    assert capsys.readouterr().err == f"waypost: {tmp_path / 'none'} cannot be read: No such file or directory\n"


BAD = {
    "http_connections": ["", "9", "1000001", "many"],
    "http_connections_each": ["", "0", "1000001"],
    "http_names": ["waypost.example:8025", "http://waypost.example", "*.example", "a b", "[::1]", "-" * 256],
    "clock": ["", "Virtual", "fake"],
    "disk_reserve": ["", "256MB", "1.5GiB", "-1", "256 MiB", "1TiB", "٢KiB", "1" * 19],
    "trace_refusals": ["", "7", "0d", "7w", "3651d"],
    "otel_sampling": ["", "0", "0.0", "1.5", ".5", "1e-3", "-1", "50%", "٠.5"],
    "probe_alias": ["probe", "@example.com", "a b@example.com", "<a@example.com>"],
    "probe_every": ["", "0s", "11m", "60"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_the_message_for_an_invalid_value_names_the_option(name, value):
    with pytest.raises(BadSetting) as refused:
        from_options(**{name: value})
    assert str(refused.value).startswith(f"--{name.replace('_', '-')} must be ")
    assert repr(value) in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:4318",
        "grpc://127.0.0.1:4317",
        "http://",
        "http://a:b@c",
        "http://a:99999",
        "http://[::1",
        "http://a#b",
    ],
)
def test_the_message_for_an_invalid_url_of_a_collector_does_not_repeat_it(url):
    with pytest.raises(BadSetting) as refused:
        from_options(otel_traces=url)
    assert str(refused.value).startswith("--otel-traces must be a URL such as http://127.0.0.1:4318")
    assert url not in str(refused.value).replace("http://127.0.0.1:4318", "")


@pytest.mark.parametrize(
    ("url", "used"),
    [
        ("", ""),
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("https://collector.example/", "https://collector.example/v1/traces"),
        ("https://collector.example/otlp/v1/traces?team=mail", "https://collector.example/otlp/v1/traces?team=mail"),
    ],
)
def test_the_url_of_a_collector_has_the_path_of_the_protocol_by_default(url, used):
    assert from_options(otel_traces=url).otel_traces == used


@pytest.mark.parametrize("share", ["1", "1.0", "0.25", "0.000000001"])
def test_a_share_is_more_than_0_and_at_most_1(share):
    assert from_options(otel_sampling=share).otel_sampling == float(share)


def test_a_probe_needs_the_role_that_receives_mail():
    with pytest.raises(BadSetting, match="--probe-alias needs the smtp role"):
        from_options(probe_alias="probe@example.com", roles="api,delivery")


def test_valid_values_are_parsed():
    settings = from_options(clock="virtual", disk_reserve="0", trace_refusals="90m")
    assert (settings.clock, settings.disk_reserve) == (Clock.VIRTUAL, 0)
    assert settings.trace_refusals == timedelta(minutes=90)
    assert (Settings().clock, Settings().disk_reserve) == (Clock.REAL, 256 * 1024 * 1024)
    assert Settings().trace_refusals == timedelta(days=7)


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("1", 1), ("1048576", 2**20), ("3KiB", 3072), ("2MiB", 2**21), ("1GiB", 2**30)]
)
def test_a_size_is_in_bytes_or_in_binary_units(text, size):
    assert SIZE.read(text) == size


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("12h", 43200), ("7d", 604800)])
def test_a_duration_has_a_unit(text, seconds):
    assert DURATION.read(text) == timedelta(seconds=seconds)
