"""A real server and real commands on a data directory that other users of the machine can change."""

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kit.patience import PATIENCE, wait_until
from tests.kit.servers.running import System, waypost, waypost_process
from waypost import testing
from waypost.testing import ServerDied

pytestmark = [pytest.mark.slow, pytest.mark.long]

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run programs as other users, and give them files")

USER, OTHER = 54321, 54322
"""User ids that do not exist on the machine."""

SERVE = ("serve", "--http", "127.0.0.1:0", "--smtp", "127.0.0.1:0", "--authentication", "off", "--data")
FILES = ("waypost.sqlite3", "credentials", "master.key", "lock", "run.json", "database", "certificate-key.pem")


@pytest.fixture
def place():
    """A directory that all users can enter, unlike the temporary directories of pytest."""
    with tempfile.TemporaryDirectory(prefix="waypost-test-") as directory:
        path = Path(directory)
        path.chmod(0o755)
        yield path


def refused(data):
    """Start a server that must refuse to start, and return its error message."""
    server = testing.Server(data)
    with pytest.raises(ServerDied) as died:
        server.start()
    lines = str(died.value).strip().splitlines()
    assert "Traceback" not in str(died.value)
    return lines[-1]


def events_of(server):
    lines = server.log.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


@contextmanager
def running_as(user, group, data):
    """Run a server as another user. Yield its output when it is ready or has ended."""
    command = [sys.executable, "-m", "tests.kit.servers.as_user", str(user), str(group), *SERVE, str(data)]
    log = data.with_name("server.log")
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            wait_until(lambda: b"is ready" in log.read_bytes() or process.poll() is not None, log.read_text)
            yield log.read_text()
        finally:
            process.terminate()
            process.wait(PATIENCE)


def command_as(user, group, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "tests.kit.servers.as_user", str(user), str(group), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def modes_of(data):
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in data.iterdir()}


def owners_of(data):
    return {path.stat().st_uid for path in (data, *data.iterdir())}


# Any user


def test_a_world_writable_data_directory_is_refused_and_not_changed(place):
    data = place / "data"
    data.mkdir()
    data.chmod(0o777)
    assert refused(data) == (
        f"waypost: Every user can write to the data directory {data} (mode 0777), so another user may have "
        f"created files in it. Check the contents, then run: chmod 700 {data}"
    )
    assert list(data.iterdir()) == []


def test_a_data_directory_in_a_world_writable_directory_is_refused(place):
    (place / "open").mkdir()
    (place / "open").chmod(0o777)
    assert f"is not safe in {place}/open, where every user can replace it" in refused(place / "open/data")


@pytest.mark.parametrize("name", FILES)
def test_a_symbolic_link_instead_of_a_file_is_refused_and_its_target_is_not_changed(place, name):
    data, victim = place / "data", place / "victim"
    data.mkdir(0o700)
    victim.write_text("precious")
    (data / name).symlink_to(victim)
    assert refused(data).startswith(f"waypost: {data / name} is a link, which Waypost does not follow.")
    assert victim.read_text() == "precious"
    for words in (["keys", "list"], ["routes", "list"]):
        ended = waypost(*words, "--data", data)
        assert ended.returncode == 1
        assert "is a link" in ended.stderr
    assert victim.read_text() == "precious"


def test_a_symbolic_link_instead_of_a_temporary_file_is_refused(place):
    data, victim = place / "data", place / "victim"
    data.mkdir(0o700)
    victim.write_text("precious")
    (data / "run.new").symlink_to(victim)  # the server never creates a file of this name
    (data / "run.01234567.new").symlink_to(victim)
    assert "run.01234567.new is a link" in refused(data)
    assert victim.read_text() == "precious"


def test_files_with_public_modes_are_made_private_and_logged(new_server):
    new_server._options = ("--tls-certificate", "self-signed")
    new_server.start()
    new_server.stop()
    names = sorted(modes_of(new_server.data))
    for name in names:
        (new_server.data / name).chmod(0o644)
    new_server.start()
    assert set(modes_of(new_server.data).values()) == {0o600}
    new_server.stop()
    changed = [
        (Path(line["file"]).name, line["mode"])
        for line in events_of(new_server)
        if line["event"] == "file_made_private"
    ]
    assert changed == [(name, "0644") for name in names]
    log = new_server.log.read_text(encoding="utf-8")
    key = new_server.data / "master.key"
    assert f"waypost: Other users could access {key} (mode 0644). Now only the file's owner has access." in log


def test_files_are_created_private_with_any_umask(new_server):
    before = os.umask(0)
    try:
        new_server.start()
    finally:
        os.umask(before)
    modes = modes_of(new_server.data)
    # If the tests run on PostgreSQL (`make postgresql`), the directory contains no database.
    of_database = {"database"} if "database" in modes else {"waypost.sqlite3-wal", "waypost.sqlite3-shm"}
    assert of_database | {"run.json"} <= set(modes)
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(new_server.data.stat().st_mode) == 0o700


def test_a_server_on_a_group_writable_directory_starts_with_a_warning(new_server):
    new_server.data.mkdir()
    new_server.data.chmod(0o2770)
    new_server.start()
    new_server.stop()
    (event,) = [line for line in events_of(new_server) if line["event"] == "data_directory_shared"]
    assert (event["directory"], event["mode"], event["level"]) == (str(new_server.data), "2770", "warning")
    assert "waypost: The group of the data directory can write to it" in new_server.log.read_text(encoding="utf-8")


def test_a_server_starts_on_a_symbolic_link_to_a_directory_of_its_user(new_server, tmp_path):
    (tmp_path / "disk").mkdir()
    new_server.data.symlink_to("disk")
    new_server.start()
    assert waypost_process("queue", "--data", new_server.data).returncode == 0
    new_server.stop()
    assert (tmp_path / "disk" / "master.key").exists()


# Other users


@AS_ROOT
def test_root_does_not_start_in_the_directory_of_another_user(place):
    data = place / "data"
    data.mkdir(0o700)
    os.chown(data, USER, USER)
    assert refused(data) == (
        f"waypost: The data directory {data} belongs to the user with id {USER}, but this program runs as root (user "
        f"id 0). Run the program as the owner of {data}. If you trust the contents of {data}, you can instead run: "
        f"chown -R 0 {data}"
    )
    assert list(data.iterdir()) == []


@AS_ROOT
@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_user_in_the_data_directory_is_refused(place, name):
    data = place / "data"
    data.mkdir(0o700)
    (data / name).write_text("A" * 43 + "=\n")
    os.chown(data / name, OTHER, OTHER)
    assert f"{data / name} belongs to the user with id {OTHER}, but this program runs as root" in refused(data)


@AS_ROOT
def test_a_user_can_start_a_server_only_in_a_directory_of_that_user(place):
    home, foreign = place / "home", place / "foreign"
    for path, owner in ((home, USER), (foreign, OTHER)):
        path.mkdir(0o755)
        os.chown(path, owner, owner)
    with running_as(USER, USER, home / "data") as output:
        assert "is ready" in output
        assert owners_of(home / "data") == {USER}
    ended = command_as(USER, USER, *SERVE, foreign)
    assert ended.returncode == 1
    assert f"The data directory {foreign} belongs to the user with id {OTHER}" in ended.stderr
    ended = command_as(OTHER, OTHER, "keys", "list", "--data", home / "data")
    assert ended.returncode == 1
    assert f"belongs to the user with id {USER}, but this program runs as the user with id {OTHER}" in ended.stderr


@AS_ROOT
def test_a_container_with_any_user_id_starts_in_a_directory_that_the_root_group_may_write(place):
    """On OpenShift, the data directory of the image belongs to root, and group 0 may write to it."""
    data = place / "data"
    data.mkdir()
    data.chmod(0o770)
    with running_as(USER, 0, data) as output:
        assert "is ready" in output
        wait_until(lambda: '"event":"data_directory_shared"' in (place / "server.log").read_text())
        assert command_as(USER, 0, "keys", "list", "--data", data).returncode == 0
        assert waypost_process("keys", "list", "--data", data).returncode == 0  # root, in the same container
        assert waypost_process("queue", "--data", data).returncode == 0
        assert owners_of(data) == {0, USER}
        assert {path.stat().st_uid for path in data.iterdir()} == {USER}


@AS_ROOT
def test_root_can_run_commands_on_the_data_directory_of_another_user(place):
    home = place / "home"
    home.mkdir(0o755)
    os.chown(home, USER, USER)
    data = home / "data"
    with running_as(USER, USER, data):
        made = waypost_process("keys", "create", "--data", data, "--json")
        assert made.returncode == 0, made.stderr
        listed = command_as(USER, USER, "keys", "list", "--data", data)
        assert json.loads(made.stdout)["AccessKeyId"] in listed.stdout
        for words in (["env"], ["queue"], ["routes", "list"], ["inbox", "nobody@example.com"]):
            ended = waypost_process(*words, "--data", data)
            assert ended.returncode == 0 or "no email address nobody@example.com" in ended.stderr
        assert owners_of(data) == {USER}
    # If no server is running, the command itself creates and removes files.
    made = waypost_process("keys", "create", "--data", data)
    assert made.returncode == 0, made.stderr
    assert owners_of(data) == {USER}
    with running_as(USER, USER, data) as output:
        assert "is ready" in output


@AS_ROOT
def test_root_makes_a_backup_of_the_data_of_another_user_with_the_permissions_of_that_user(place):
    home, private = place / "home", place / "private"
    home.mkdir(0o755)
    private.mkdir(0o700)
    os.chown(home, USER, USER)
    data = home / "data"
    with running_as(USER, USER, data):
        made = waypost_process("backup", home / "first", "--data", data)
        assert made.returncode == 0, made.stderr
    made = waypost_process("backup", home / "second", "--data", data)  # now the command itself opens the log
    assert made.returncode == 0, made.stderr
    for backup in (home / "first", home / "second"):
        assert waypost_process("verify", "--data", data).returncode == 0
        assert owners_of(backup) == owners_of(data) == {USER}
    refused = waypost_process("backup", private / "backup", "--data", data)
    assert refused.returncode == 1
    assert "cannot be created: Permission denied. The command has the permissions of the" in refused.stderr
    with running_as(USER, USER, data) as output:
        assert "is ready" in output
    restored = command_as(USER, USER, "restore", home / "first", "--data", home / "copy")
    assert restored.returncode == 0, restored.stderr
    with running_as(USER, USER, home / "copy") as output:
        assert "is ready" in output


@AS_ROOT
def test_root_does_not_follow_symbolic_links_in_the_directory_of_another_user(place):
    home, victim = place / "home", place / "victim"
    home.mkdir(0o755)
    os.chown(home, USER, USER)
    data = home / "data"
    with running_as(USER, USER, data):
        pass
    victim.write_text("precious")
    for name in ("waypost.sqlite3-wal", "lock", "master.key", "credentials"):
        kept = place / "kept"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(data, kept)
        for path in (kept, *kept.iterdir()):
            os.chown(path, USER, USER)
        (kept / name).unlink(missing_ok=True)
        (kept / name).symlink_to(victim)
        os.chown(kept / name, USER, USER, follow_symlinks=False)
        ended = waypost_process("keys", "create", "--data", kept)
        assert ended.returncode != 0
        assert f"{kept / name} is a link" in ended.stderr
        assert victim.read_text() == "precious"


def test_a_server_whose_data_directory_was_deleted_is_not_ready(place):
    server = testing.Server(place / "data")
    server.start()
    system = System(server)
    try:
        assert system.get("ready", key=()).status == 200
        shutil.rmtree(place / "data")
        assert [system.get(page, key=()).status for page in ("ready", "health")] == [503, 200]
    finally:
        system.connect.close()
        server.kill()


# The password of a database


URLS = [
    "postgresql://u:SECRETPW@127.0.0.1:1/x",
    "postgresql://u@127.0.0.1:1/x?password=SECRETPW",
    "postgresql://u@127.0.0.1:1/x?PASSWORD=SECRETPW",
    "postgresql://u:SECRETPW@127.0.0.1:1/x?bogus=1",
    "postgresql://u:SEC%52ETPW@127.0.0.1:notaport/x",
    "postgres://u:SECRETPW@[::1/x",
    "postgresql:///x?host=127.0.0.1&port=1&sslpassword=SECRETPW&user=u",
    "postgresql://u:SECRETPW@127.0.0.1:1,127.0.0.1:2/x",
    "postgresql://u:SECRETPW/@127.0.0.1:1/x",
    "mysql://u:SECRETPW@127.0.0.1/x",
    "u:SECRETPW@127.0.0.1:1",
    "host=127.0.0.1 port=1 user=u password=SECRETPW",
]


@pytest.mark.parametrize("url", URLS)
def test_a_command_does_not_print_the_password_of_a_database(tmp_path, url):
    pytest.importorskip("psycopg")
    ended = waypost("keys", "list", "--data", tmp_path / "data", WAYPOST_SERVE_DATABASE=url)
    assert ended.returncode == 1
    assert "SECRETPW" not in ended.stdout + ended.stderr


@pytest.mark.parametrize("url", URLS[:4])
def test_a_server_neither_prints_nor_stores_the_password_of_a_database(tmp_path, url):
    pytest.importorskip("psycopg")
    data = tmp_path / "data"
    ended = waypost_process(*SERVE, data, WAYPOST_SERVE_DATABASE=url)
    assert ended.returncode == 1
    assert "SECRETPW" not in ended.stdout + ended.stderr
    kept = list(data.iterdir()) if data.exists() else []
    assert [path.name for path in kept if "SECRETPW" in path.read_text(errors="replace")] == []


def test_the_error_for_a_database_of_the_wrong_type_hides_the_password(tmp_path):
    file = tmp_path / "waypost.toml"
    file.write_text(f"database = {json.dumps(URLS[:1])}\n")
    ended = waypost(*SERVE, tmp_path / "data", "--config", file)
    assert "`database` must be a string" in ended.stderr
    assert "SECRETPW" not in ended.stdout + ended.stderr
