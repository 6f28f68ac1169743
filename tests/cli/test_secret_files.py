"""Secrets that are given as files replace the variables that name the files."""

import os

import pytest

from tests.kit.servers.running import waypost_process
from waypost.cli import secret_files
from waypost.cli.outcomes import Exit
from waypost.config.types import BadSetting


def read(**environment):
    secret_files.read_into(environment)
    return environment


def test_the_contents_of_a_file_are_the_value_of_the_variable(tmp_path):
    key, database = tmp_path / "key", tmp_path / "database"
    key.write_bytes(b"c2VjcmV0\r\n")
    database.write_text("postgresql://waypost:secret@database/waypost\n")
    assert read(WAYPOST_MASTER_KEY_FILE=str(key), WAYPOST_SERVE_DATABASE_FILE=str(database), HOME="/") == {
        "WAYPOST_MASTER_KEY": "c2VjcmV0",
        "WAYPOST_SERVE_DATABASE": "postgresql://waypost:secret@database/waypost",
        "HOME": "/",
    }


def test_a_variable_without_a_file_stays():
    assert read(WAYPOST_MASTER_KEY="x", WAYPOST_MASTER_KEY_FILE="") == {"WAYPOST_MASTER_KEY": "x"}


@pytest.mark.parametrize(
    ("octets", "mode", "complaint"),
    [
        (b"", 0o600, "must contain exactly one line"),
        (b"\n", 0o600, "must contain exactly one line"),
        (b"one\ntwo\n", 0o600, "must contain exactly one line"),
        ("schlüssel".encode(), 0o600, "must contain only ASCII characters"),
        (b"x" * (secret_files.LONGEST + 1), 0o600, f"has more than {secret_files.LONGEST} bytes"),
        (b"secret", 0o606, "every user can write to"),
        (None, 0o600, "cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_but_not_shown(tmp_path, octets, mode, complaint):
    file = tmp_path / "key"
    if octets is not None:
        file.write_bytes(octets)
        file.chmod(mode)
    with pytest.raises(BadSetting) as refused:
        read(WAYPOST_MASTER_KEY_FILE=str(file))
    message = str(refused.value)
    assert message.startswith("WAYPOST_MASTER_KEY_FILE: ")
    assert complaint in message
    assert str(file) in message
    assert "secret" not in message


def test_a_named_pipe_is_refused_and_does_not_let_the_command_wait(tmp_path):
    os.mkfifo(tmp_path / "key", 0o600)
    with pytest.raises(BadSetting, match=r"^WAYPOST_MASTER_KEY_FILE: .*/key is a named pipe, .*regular file\.$"):
        read(WAYPOST_MASTER_KEY_FILE=str(tmp_path / "key"))


def test_the_pipe_of_a_shell_is_read():
    reading, writing = os.pipe()
    os.write(writing, b"c2VjcmV0\n")
    os.close(writing)
    try:
        assert read(WAYPOST_MASTER_KEY_FILE=f"/dev/fd/{reading}") == {"WAYPOST_MASTER_KEY": "c2VjcmV0"}
    finally:
        os.close(reading)


def test_a_secret_and_its_file_are_not_both_accepted(tmp_path):
    with pytest.raises(BadSetting, match="WAYPOST_MASTER_KEY and WAYPOST_MASTER_KEY_FILE are both set"):
        read(WAYPOST_MASTER_KEY="x", WAYPOST_MASTER_KEY_FILE=str(tmp_path))


def test_a_command_reads_the_files(tmp_path):
    done = waypost_process("inbox", "--data", tmp_path, WAYPOST_MASTER_KEY_FILE=str(tmp_path / "none"))
    assert done.returncode == Exit.REFUSED
    assert done.stderr.startswith("waypost: WAYPOST_MASTER_KEY_FILE: ")


def test_the_command_that_copies_reads_the_url_of_the_new_database_from_a_file(tmp_path):
    file = tmp_path / "url"
    file.write_text("mysql://waypost:secret@database/waypost\n")
    done = waypost_process("copy", tmp_path / "new", "--data", tmp_path, WAYPOST_COPY_TO_DATABASE_FILE=str(file))
    assert done.returncode == Exit.REFUSED
    assert "--to-database" in done.stderr
    assert "secret" not in done.stderr
