"""Other mail programs deliver to Waypost: curl, swaks, and Postfix's smtp-source."""

import re
import shutil
import subprocess

import pytest

from tests.kit.patience import PATIENCE

MESSAGE = (
    b"From: a@client.example\r\nTo: help@example.com\r\nSubject: hello\r\n\r\n"
    b".\r\n..\r\n.x\r\n" + b"y" * 5_000 + b"\r\n\xff\xfe\r\n\r\nBye.\r\n"
)


def client(name):
    """Mark a test as skipped if a program is not installed."""
    return pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed")


def run(*command, **options) -> str:
    """Run a program that must succeed, and return its output."""
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False, **options)
    assert done.returncode == 0, done.stderr + done.stdout
    return (done.stdout + done.stderr).decode(errors="replace")


def assert_arrived(system, alias, primary, message):
    (message_id,) = system.ids_at(alias)
    assert system.ids_at(primary) == [message_id]
    for address in (alias, primary):
        assert system.raw(message_id, address).endswith(b"\r\n" + message)
        assert system.inbox(address)[0]["size"] == len(message)


@client("curl")
def test_curl_sends_a_message_byte_for_byte(system, tmp_path):
    alias, primary = system.linked_pair()
    (tmp_path / "message").write_bytes(MESSAGE)
    host, port = system.server.smtp
    envelope = ("--mail-from", "a@client.example", "--mail-rcpt", alias)
    run("curl", "--silent", "--show-error", "--noproxy", "*", f"smtp://{host}:{port}/client.example", *envelope,
        "--upload-file", tmp_path / "message")  # fmt: skip
    assert_arrived(system, alias, primary, MESSAGE)


@client("swaks")
@pytest.mark.parametrize("options", [(), ("--pipeline",), ("--protocol", "SMTP")], ids=["plain", "pipelined", "helo"])
def test_swaks_sends_a_message_byte_for_byte(system, tmp_path, options):
    alias, primary = system.linked_pair()
    (tmp_path / "message").write_bytes(MESSAGE.removesuffix(b"\r\n"))  # swaks ends the last line
    host, port = system.server.smtp
    envelope = ("--helo", "client.example", "--from", "a@client.example", "--to", alias)
    output = run(
        "swaks", "--server", host, "--port", str(port), *envelope, "--data", f"@{tmp_path / 'message'}", *options
    )  # fmt: skip
    assert re.search(r"250 2\.0\.0 [0-9a-f-]{36} accepted", output)
    assert_arrived(system, alias, primary, MESSAGE)


@client("swaks")
def test_swaks_gets_the_refusal_of_an_unknown_recipient(system):
    host, port = system.server.smtp
    command = ("swaks", "--server", host, "--port", str(port), "--to", "unknown@example.com", "--pipeline")
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode != 0
    assert b"550 5.1.1 No such address here" in done.stdout


@client("smtp-source")
def test_smtp_source_sends_many_messages_in_many_sessions(system):
    alias, primary = system.linked_pair()
    host, port = system.server.smtp
    run("smtp-source", "-s", "10", "-m", "100", "-l", "2000", "-f", "a@client.example", "-t", alias,
        "-M", "client.example", f"inet:{host}:{port}")  # fmt: skip
    at_alias = system.inbox(alias, limit=500)
    assert len(at_alias) == 100
    assert {message["from"] for message in at_alias} == {"a@client.example"}
    assert set(system.ids_at(alias, limit=500)) == set(system.ids_at(primary, limit=500))


@client("smtp-source")
def test_smtp_source_sends_a_message_to_several_recipients(system):
    address = system.new_address("1several")
    host, port = system.server.smtp
    recipients = [f"{number}{address}" for number in range(1, 4)]
    for recipient in recipients:
        system.connect.create_email_address(InstanceId=system.instance_id, EmailAddress=recipient)
    run("smtp-source", "-r", "3", "-m", "1", "-f", "a@client.example", "-t", address, f"inet:{host}:{port}")
    assert len({message_id for recipient in recipients for message_id in system.ids_at(recipient)}) == 1
