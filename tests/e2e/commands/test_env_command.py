"""`waypost env`: AWS SDKs use the server in any environment, and a shell runs no further command if it fails."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import boto3
import botocore.config
import pytest

from tests.kit.servers.running import waypost
from waypost import testing
from waypost.cli.outcomes import Exit
from waypost.client import environment
from waypost.host.data_directory import DataDirectory
from waypost.host.directory_files import DataDirectoryError
from waypost.host.run_file import Run

DEAD = "http://127.0.0.1:9"
"""A URL on which no server listens."""

CONFIGURATION = f"""
[default]
region = eu-west-1
endpoint_url = {DEAD}
services = elsewhere
ignore_configured_endpoint_urls = true
use_fips_endpoint = true
use_dualstack_endpoint = true
ca_bundle = /nonexistent
aws_session_token = of-another-key
credential_process = false

[services elsewhere]
connect =
  endpoint_url = {DEAD}
"""

HOSTILE = {
    "a missing profile": {"AWS_PROFILE": "elsewhere"},
    "a missing default profile": {"AWS_DEFAULT_PROFILE": "elsewhere"},
    "a session token": {"AWS_SESSION_TOKEN": "of-another-key"},
    "a session token in the old variable": {"AWS_SECURITY_TOKEN": "of-another-key"},
    "expired credentials": {"AWS_CREDENTIAL_EXPIRATION": "2001-01-01T00:00:00Z"},
    "a token of an identity provider": {"AWS_WEB_IDENTITY_TOKEN_FILE": "/nonexistent", "AWS_ROLE_ARN": "arn:aws:x"},
    "proxies": dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"), DEAD),
    "a proxy, and hosts without a proxy": {"http_proxy": DEAD, "no_proxy": "internal.example", "NO_PROXY": "a.example"},
    "an endpoint for all services": {"AWS_ENDPOINT_URL": DEAD},
    "configured endpoints are ignored": {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
    "FIPS": {"AWS_USE_FIPS_ENDPOINT": "true"},
    "dual stack": {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
    "a missing CA bundle": {"AWS_CA_BUNDLE": "/nonexistent"},
    "a configuration file for another endpoint": {"AWS_CONFIG_FILE": "CONFIGURATION"},
}
EVERYTHING = {name: value for variables in HOSTILE.values() for name, value in variables.items()}
ONCE = botocore.config.Config(retries={"total_max_attempts": 1})


@pytest.fixture
def configuration(tmp_path):
    file = tmp_path / "config"
    file.write_text(CONFIGURATION)
    return str(file)


def printed(system, **variables):
    done = waypost("env", "--json", "--data", system.server.data, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def instances(environ, monkeypatch):
    """Return the ids of the instances that boto3 finds with this environment."""
    monkeypatch.setattr(os, "environ", environ)
    client = boto3.Session().client("connect", config=ONCE)
    try:
        return [instance["Id"] for instance in client.list_instances()["InstanceSummaryList"]]
    finally:
        client.close()


def test_env_prints_the_variables_for_the_server(system):
    done = waypost("env", "--data", system.server.data, NO_PROXY="", no_proxy="")
    assert (done.returncode, done.stderr) == (0, "")
    unset, *exports = done.stdout.splitlines()
    variables = dict(shlex.split(line.removeprefix("export "))[0].split("=", 1) for line in exports)
    host, port = system.server.smtp
    assert variables == {
        "AWS_ENDPOINT_URL_CONNECT": system.server.url,
        "AWS_ACCESS_KEY_ID": system.server.profile.key.id,
        "AWS_SECRET_ACCESS_KEY": system.server.profile.key.secret,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_PAGER": "",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",
        "AWS_USE_FIPS_ENDPOINT": "false",
        "AWS_USE_DUALSTACK_ENDPOINT": "false",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "WAYPOST_INSTANCE_ID": system.instance_id,
        "WAYPOST_SMTP": f"{host}:{port}",
        "WAYPOST_HTTP": system.server.run.http,
    }
    assert unset.split() == ["unset", *environment.UNSET]
    assert printed(system, NO_PROXY="", no_proxy="") == variables | dict.fromkeys(environment.UNSET)


@pytest.mark.slow
@pytest.mark.parametrize("hostile", [*HOSTILE.values(), EVERYTHING], ids=[*HOSTILE, "all variables"])
def test_boto3_uses_the_server_in_any_environment(system, configuration, monkeypatch, hostile):
    before = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    before |= {name: configuration if name == "AWS_CONFIG_FILE" else value for name, value in hostile.items()}
    after = before | printed(system, **before)
    assert system.instance_id in instances(
        {name: value for name, value in after.items() if value is not None}, monkeypatch
    )


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "zsh", "ksh", "busybox"])
def test_the_aws_cli_uses_the_server_in_every_shell(system, configuration, shell):
    if not shutil.which(shell):
        pytest.skip(f"there is no {shell}")
    aws = Path(sys.executable).with_name("aws")
    if not aws.exists():
        pytest.skip("there is no AWS CLI")
    command = [shell, "sh"] if shell == "busybox" else [shell]
    env_command = shlex.join([sys.executable, "-m", "waypost", "env", "--data", str(system.server.data)])
    script = (
        f'set -eu; eval "$({env_command})"\n'
        f"{shlex.quote(str(aws))} connect list-instances --query 'InstanceSummaryList[].Id' --output text"
    )
    hostile = {**os.environ, **EVERYTHING, "AWS_CONFIG_FILE": configuration, "AWS_PAGER": "false"}
    done = subprocess.run(
        [*command, "-c", script], env=hostile, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert system.instance_id in done.stdout.split()


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [("--data", "nowhere"), ("--dta", "x"), ("x",), ("--data",)],
    ids=["no server", "an unknown option", "an argument too many", "an option without its value"],
)
def test_a_shell_runs_no_further_command_if_env_fails(tmp_path, arguments):
    env_command = shlex.join([sys.executable, "-m", "waypost", "env", *arguments])
    done = subprocess.run(
        ["sh", "-c", f'eval "$({env_command})" && echo "the next command runs"'],
        cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr


def test_env_prints_false_if_the_server_was_killed(new_server):
    new_server.start()
    new_server.kill()
    done = waypost("env", "--data", new_server.data)
    assert (done.returncode, done.stdout) == (Exit.NO_SERVER, "false\n")
    assert "If it was killed, start it again" in done.stderr
    assert waypost("env", "--json", "--data", new_server.data).stdout == ""


def test_the_help_of_env_does_not_print_false():
    done = waypost("env", "--help")
    assert done.returncode == 0
    assert "false\n" not in done.stdout


@pytest.mark.parametrize(
    ("bound", "announced"),
    [
        ("0.0.0.0:8025", "127.0.0.1:8025"),
        ("[::]:25", "[::1]:25"),
        ("[0:0::0]:25", "[::1]:25"),
        ("127.0.0.2:8025", "127.0.0.2:8025"),
        ("[2001:db8::1]:25", "[2001:db8::1]:25"),
        ("mail.example:25", "mail.example:25"),
        ("", ""),
    ],
)
def test_env_prints_a_loopback_address_for_a_server_on_all_addresses(tmp_path, bound, announced):
    directory = DataDirectory(tmp_path)
    directory.announce(Run(bound, bound, smtps=bound, lmtp=bound, pid=1))
    found = directory.running()
    assert [found.http, found.smtp, found.smtps, found.lmtp] == [announced] * 4


def test_the_test_kit_returns_an_ipv6_address_without_brackets(tmp_path):
    server = testing.Server(tmp_path)
    server.run = Run("[::1]:1", "[::1]:2")
    assert server.smtp == ("::1", 2)


def test_unknown_members_of_run_json_are_ignored(tmp_path):
    members = {"http": "127.0.0.1:1", "smtp": "127.0.0.1:2", "pid": 3, "of another version": True}
    (tmp_path / "run.json").write_text(json.dumps(members))
    assert DataDirectory(tmp_path).running() == Run("127.0.0.1:1", "127.0.0.1:2", pid=3)


@pytest.mark.parametrize(
    "damaged",
    [
        "[]", "1", "{}", "{", "null", "[" * 100_000,
        '{"http": 5, "smtp": "127.0.0.1:2"}',
        '{"http": "127.0.0.1:1", "smtp": null}',
        '{"http": "127.0.0.1:1", "smtp": "127.0.0.1:2", "certificate": {}}',
        '{"http": "127.0.0.1:1", "smtp": "127.0.0.1:2", "certificate": "\\ud800"}',
        '{"http": "127.0.0.1:1", "smtp": "127.0.0.1:2", "listeners": 1}',
        '{"http": "127.0.0.1:1", "smtp": "127.0.0.1:2", "listeners": [1]}',
        '{"http": "[::1", "smtp": "127.0.0.1:2"}',
        '{"http": "a b:1", "smtp": "127.0.0.1:2"}',
        '{"http": "127.0.0.1:1\\n", "smtp": "127.0.0.1:2"}',
        '{"http": "\\ud800:1", "smtp": "127.0.0.1:2"}',
    ],
)  # fmt: skip
def test_a_damaged_run_json_raises_a_readable_error(tmp_path, damaged):
    (tmp_path / "run.json").write_text(damaged)
    with pytest.raises(DataDirectoryError, match="is damaged"):
        DataDirectory(tmp_path).running()


def test_the_variables_of_env_reach_a_server_that_listens_on_all_addresses(new_server, monkeypatch):
    new_server._options = ("--http", "0.0.0.0:0", "--smtp", "0.0.0.0:0")
    new_server.start()
    done = waypost("env", "--json", "--data", new_server.data)
    variables = json.loads(done.stdout)
    assert "0.0.0.0" not in done.stdout
    assert variables["WAYPOST_SMTP"].startswith("127.0.0.1:")
    assert variables["NO_PROXY"].split(",")[-1] == "127.0.0.1"
    environ = {name: value for name, value in (dict(os.environ) | variables).items() if value is not None}
    assert instances(environ, monkeypatch) == [variables["WAYPOST_INSTANCE_ID"]]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "[::1],mail.example,::1"),
        ({"NO_PROXY": "a, b"}, "a,b,[::1],mail.example,::1"),
        ({"no_proxy": "a", "NO_PROXY": "b,a"}, "a,b,[::1],mail.example,::1"),
        ({"no_proxy": "*"}, "*,[::1],mail.example,::1"),
        ({"NO_PROXY": "mail.example,,"}, "mail.example,[::1],::1"),
    ],
)
def test_env_adds_the_server_s_hosts_to_the_existing_no_proxy(given, expected):
    assert environment.without_proxy(["[::1]:8025", "mail.example:25", ""], given) == expected
