"""`waypost serve` reads plain options without click, and leaves everything else to click."""

import subprocess
import sys

import pytest

from waypost.cli.commands import serving


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ("serve", {}),
        ("serve --data there --http 127.0.0.1:0", {"data": "there", "http": "127.0.0.1:0"}),
        ("serve --data=there --trusted-networks=", {"data": "there", "trusted_networks": ""}),
        ("serve --data=a=b", {"data": "a=b"}),
        ("serve --data one --data two", {"data": "two"}),
        ("serve --help", None),
        ("serve -h", None),
        ("serve --data there --help", None),
        ("serve --data", None),
        ("serve --data --http", None),
        ("serve --dat there", None),
        ("serve --no-such-option there", None),
        ("serve there", None),
        ("serve -- there", None),
        ("keys list", None),
        ("--version serve", None),
        ("", None),
    ],
)
def test_only_known_options_with_values_are_read(arguments, options):
    assert serving.options_in(arguments.split()) == options


@pytest.mark.parametrize("arguments", [["--data", "there", "--no-such-option", "x"], ["--data"]], ids=" ".join)
def test_click_names_a_mistake_in_the_options(arguments):
    command = [sys.executable, "-m", "waypost", "serve", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert arguments[-2 if len(arguments) > 1 else -1] in done.stderr


def test_a_settings_file_that_the_environment_names_is_read(tmp_path, monkeypatch):
    path = tmp_path / "waypost.toml"
    path.write_text('hostname = "mx.example.com"\n')
    monkeypatch.setenv("WAYPOST_SERVE_CONFIG", str(path))
    assert serving.settings_file({}).values == {"hostname": "mx.example.com"}
    assert serving.settings_file({"config": ""}).values == {}


def test_the_server_loads_no_library_that_only_other_commands_need():
    """Importing these libraries takes a third of the server's start time."""
    code = (
        "import sys, waypost.cli, waypost.server.runtime, waypost.server.service;"
        "from waypost.cli.commands import serving;"
        "serving.options_in(['serve', '--data', 'x']);"
        "print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"click.testing", "psycopg", "aiohttp", "dkim", "spf", "boto3"} & set(loaded)
