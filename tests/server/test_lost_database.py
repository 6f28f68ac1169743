"""A server whose database was lost, emptied or damaged never starts empty, because it would then refuse all mail."""

import asyncio
import base64
import contextlib
import errno
import os
import random
import resource
import sqlite3
import subprocess
import sys

import pytest

from tests.kit.stores import postgresql
from tests.kit.stores.time_limits import set_limits
from tests.kit.values import TENANT, make_instance
from waypost.app import ports
from waypost.config.sources import from_options
from waypost.host import data_directory
from waypost.host.data_directory import DataDirectory
from waypost.host.directory_files import DataDirectoryError
from waypost.host.master_key import MASTER_KEY_VARIABLE
from waypost.host.master_keys import MasterKeys
from waypost.server import opening, owner
from waypost.server import service as services

pytestmark = pytest.mark.slow

KEY = base64.urlsafe_b64encode(b"k" * 32).decode()
OLD_CREDENTIALS = (
    b"[default]\naws_access_key_id = AKIAONE\naws_secret_access_key = one\naws_account_id = 000000000000\nregion = x\n"
)


def start_and_stop(path, **settings):
    """Start a server on a data directory, and stop it again."""

    async def start():
        service = services.Service(from_options(data=str(path), http="127.0.0.1:0", smtp="127.0.0.1:0", **settings))
        await service.start()
        await service.stop()

    asyncio.run(start())


def contents(path):
    """The contents of all files, except the index file that SQLite creates whenever it opens a database."""
    return {file.name: file.read_bytes() for file in path.iterdir() if not file.name.endswith(("-shm", "-turn"))}


def refusal(path, **settings):
    """The message of a server that does not start. The start must not change any file."""
    before = contents(path)
    with pytest.raises((opening.CannotStart, DataDirectoryError)) as caught:
        start_and_stop(path, **settings)
    assert {name: octets for name, octets in contents(path).items() if octets or name in before} == before
    return str(caught.value)


def with_store(path, use_case=lambda _: None, **options):
    """Run a use case on the store, which is opened as a server opens it."""

    async def run():
        store = opening.open_store(DataDirectory(path), **options)
        try:
            return await store.write(use_case)
        finally:
            await store.close()

    return asyncio.run(run())


@pytest.fixture
def data(tmp_path):
    """The data directory of a server that has stopped."""
    start_and_stop(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def killed(tmp_path):
    """The data directory of a server that was killed before SQLite copied anything from its write-ahead log."""
    code = (
        "import asyncio, os, sys, pathlib\n"
        "from tests.kit.values import make_instance\n"
        "from waypost.host.data_directory import DataDirectory\n"
        "from waypost.server import opening\n"
        "async def run():\n"
        "    directory = DataDirectory(pathlib.Path(sys.argv[1]))\n"
        "    directory.prepare()\n"
        "    await opening.open_store(directory).write(make_instance)\n"
        "    os._exit(0)\n"
        "asyncio.run(run())\n"
    )
    path = tmp_path / "data"
    subprocess.run([sys.executable, "-c", code, path], check=True, timeout=60)
    assert (path / "waypost.sqlite3-wal").stat().st_size
    return path


# A lost database


def test_a_server_does_not_start_if_its_database_is_missing(data):
    (data / "waypost.sqlite3").unlink()
    assert refusal(data) == (
        f"{data}/waypost.sqlite3 is missing, but a server has stored data there, according to lock and "
        f"credentials in {data}. Restore the database from your backup. If the data is in PostgreSQL, name the "
        "database with --database. To start with an empty database, without email addresses and mail, remove "
        f"{data}/lock and {data}/credentials."
    )


def test_a_server_does_not_start_if_its_database_is_empty(data):
    os.truncate(data / "waypost.sqlite3", 0)
    assert refusal(data).startswith(
        f"{data}/waypost.sqlite3 is empty, but a server has stored data there, according to "
    )


def test_a_server_does_not_start_on_a_database_without_tables(data):
    (data / "waypost.sqlite3").unlink()
    with contextlib.closing(sqlite3.connect(data / "waypost.sqlite3")) as other:
        other.executescript("PRAGMA journal_mode = WAL; CREATE TABLE t (x); DROP TABLE t")
    message = refusal(data)
    assert message.startswith(
        f"{data}/waypost.sqlite3 contains none of Waypost's tables, but a server has stored data there, according to "
    )
    assert message.endswith(f"remove {data}/lock and {data}/credentials.")


@pytest.mark.parametrize("remaining", ["lock", "credentials"])
def test_one_file_that_only_a_server_writes_proves_that_there_was_a_database(data, remaining):
    for file in data.iterdir():
        if file.name != remaining:
            file.unlink()
    message = refusal(data)
    assert f"according to {remaining} in {data}. " in message
    assert message.endswith(f"remove {data}/{remaining}.")


def test_a_server_starts_with_an_empty_database_after_the_removal_of_the_named_files(data):
    (data / "waypost.sqlite3").unlink()
    assert refusal(data).endswith(f"remove {data}/lock and {data}/credentials.")
    (data / "lock").unlink()
    (data / "credentials").unlink()
    start_and_stop(data)


def test_a_command_does_not_create_a_database_in_place_of_a_lost_one(data):
    (data / "waypost.sqlite3").unlink()
    for make in (False, True):
        with pytest.raises(DataDirectoryError, match=r"waypost\.sqlite3 is missing"):
            asyncio.run(opening.administer(DataDirectory(data), lambda _: None, make=make))
    assert not (data / "waypost.sqlite3").exists()


def test_a_server_does_not_start_if_the_write_ahead_log_of_a_killed_server_is_missing(killed):
    (killed / "waypost.sqlite3-wal").unlink()
    message = refusal(killed)
    assert message.startswith(f"{killed}/waypost.sqlite3-wal is missing. A server that did not stop cleanly left its ")
    assert message.endswith(f"To start without these changes, remove {killed}/waypost.sqlite3-shm.")
    (killed / "waypost.sqlite3-shm").unlink()
    assert f"{killed}/waypost.sqlite3 contains none of Waypost's tables" in refusal(killed)


def test_a_server_starts_with_a_truncated_write_ahead_log_but_not_with_an_empty_database(killed):
    log = killed / "waypost.sqlite3-wal"
    os.truncate(log, log.stat().st_size * 2 // 3)
    (killed / "waypost.sqlite3-shm").unlink()
    start_and_stop(killed)  # with everything that the rest of the log has committed
    os.truncate(killed / "waypost.sqlite3", 0)
    assert "is empty" in refusal(killed)


def test_the_data_of_a_killed_server_is_there_after_the_next_start(killed):
    assert with_store(killed, lambda tx: tx.instance(TENANT, "i") is not None)


# A damaged database


def test_the_message_for_a_truncated_database_names_it_and_says_what_to_do(data):
    os.truncate(data / "waypost.sqlite3", (data / "waypost.sqlite3").stat().st_size // 2)
    message = refusal(data)
    assert message.startswith(f"{data}/waypost.sqlite3 cannot be opened: ")
    assert "The file is damaged. Restore the file from your backup." in message
    assert f"`sqlite3 {data}/waypost.sqlite3 .recover`" in message


@pytest.mark.parametrize("seed", range(6))
def test_a_database_with_random_bytes_opens_or_is_refused_with_a_message(data, seed):
    with_store(data, make_instance)
    generator = random.Random(seed)
    with (data / "waypost.sqlite3").open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        for _ in range(40):
            file.seek(generator.randrange(8192, size - 64))
            file.write(generator.randbytes(64))
    with contextlib.suppress(opening.CannotStart, ports.StoreUnavailable):
        assert with_store(data, lambda tx: tx.instance(TENANT, "i"))  # the random bytes have hit unused space


@pytest.mark.parametrize("seed", range(6))
def test_the_message_for_a_database_with_random_pages_says_what_to_do(data, seed):
    generator = random.Random(seed)
    with (data / "waypost.sqlite3").open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        for page in generator.sample(range(1, size // 4096), 5):
            file.seek(page * 4096)
            file.write(generator.randbytes(4096))
    assert "The file is damaged. Restore the file from your backup." in refusal(data)


def test_the_start_finds_one_damaged_page_in_a_database(data):
    with contextlib.closing(sqlite3.connect(data / "waypost.sqlite3")) as other:
        ((page,),) = other.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'messages'").fetchall()
        ((size,),) = other.execute("PRAGMA page_size").fetchall()
    with (data / "waypost.sqlite3").open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    assert "The file is damaged." in refusal(data)


def test_the_start_checks_a_large_database_only_for_a_limited_time(data, monkeypatch):
    set_limits(monkeypatch, damage_check=-1.0)
    monkeypatch.setattr("waypost.store.sqlite.file.STEPS_BETWEEN_CHECKS", 1)
    start_and_stop(data)


@pytest.mark.parametrize("text", ["", "\n", "somewhere", "\xff"])
def test_a_server_does_not_start_if_the_file_database_has_no_url(tmp_path, text):
    (tmp_path / "database").write_bytes(text.encode("latin-1"))
    assert refusal(tmp_path) == (
        f"{tmp_path}/database must contain the URL of a PostgreSQL database, without its password. Restore the file "
        "from your backup, or write the URL into the file."
    )


@pytest.mark.parametrize(
    ("octets", "fault"),
    [
        (b"", " has no profile."),
        (b"[default]\n", ": the profile [default] lacks aws_access_key_id."),
        (OLD_CREDENTIALS[:38], ": the profile [default] lacks aws_secret_access_key."),
        (b"\xff", " is not an AWS credentials file."),
        (b"aws", " is not an AWS credentials file."),
    ],
)
def test_the_message_for_a_truncated_credentials_file_names_it_and_says_what_to_do(data, octets, fault):
    (data / "credentials").write_bytes(octets)
    message = refusal(data)
    assert message == (
        f"{data}/credentials{fault} Restore the file from your backup. If you remove the file, the server writes a new "
        "one with the owner's access key when it next starts."
    )
    (data / "credentials").unlink()
    start_and_stop(data)
    assert DataDirectory(data).profiles()


@pytest.mark.parametrize("text", ["", "cut", None])
def test_the_message_for_a_missing_or_truncated_master_key_names_it_and_says_what_to_do(data, text):
    if text is None:
        (data / "master.key").unlink()
    else:
        (data / "master.key").write_text(text)
    message = refusal(data)
    assert message.startswith(f"{data}/master.key ")
    assert "Restore the " in message
    assert " from your backup" in message


# A new database


def test_the_keys_of_a_credentials_file_from_an_older_version_are_stored(tmp_path):
    (tmp_path / "credentials").write_bytes(OLD_CREDENTIALS)
    start_and_stop(tmp_path)
    assert with_store(tmp_path, lambda tx: tx.access_key("AKIAONE") is not None)


def test_a_master_key_that_was_written_before_the_first_start_is_used(tmp_path):
    (tmp_path / "lock").touch()  # as after a start that failed
    (tmp_path / "master.key").write_text(f"{KEY}\n")
    start_and_stop(tmp_path)
    assert (tmp_path / "master.key").read_text() == f"{KEY}\n"


def test_an_empty_file_in_a_new_directory_is_not_treated_as_a_lost_database(tmp_path, monkeypatch):
    monkeypatch.setenv(MASTER_KEY_VARIABLE, KEY)
    (tmp_path / "waypost.sqlite3").touch()
    start_and_stop(tmp_path)


def test_a_directory_of_an_earlier_version_opens_and_gets_the_line_in_its_lock_file(data):
    os.truncate(data / "lock", 0)
    start_and_stop(data)
    assert (data / "lock").read_bytes() == b"A server has kept its data here.\n"


def test_the_credentials_file_proves_that_an_earlier_version_had_a_database(data):
    os.truncate(data / "lock", 0)
    (data / "waypost.sqlite3").unlink()
    assert f"according to credentials in {data}. " in refusal(data)


_STEPS = (
    (MasterKeys, "derived"),
    (owner, "adopting"),
    (DataDirectory, "write_credentials"),
    (DataDirectory, "announce"),
    (os, "replace"),
    (os, "link"),
    (sqlite3, "connect"),
)


class Killed(BaseException):
    """Stands for the kill of the process at this point."""


@pytest.mark.parametrize(("owner", "name"), _STEPS, ids=[name for _, name in _STEPS])
def test_a_first_start_that_was_killed_can_be_repeated(tmp_path, monkeypatch, owner, name):
    def killed_here(*_, **__):
        raise Killed

    path = tmp_path / "data"
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, killed_here)
        # A killed process cannot remove its temporary files, so `unlink` does nothing.
        patched.setattr(os, "unlink", lambda *_, **__: None)
        with pytest.raises(Killed):
            start_and_stop(path)
    start_and_stop(path)
    assert {file.name for file in path.iterdir()} == {
        "waypost.sqlite3",
        "waypost.sqlite3-next",
        "waypost.sqlite3-turn",
        "credentials",
        "master.key",
        "lock",
    }


@pytest.mark.parametrize("statement", range(1, 60, 3))
def test_a_first_start_that_was_killed_during_a_migration_can_be_repeated(tmp_path, monkeypatch, statement):
    connect = sqlite3.connect
    count = 0

    class KilledConnection(sqlite3.Connection):
        def execute(self, *arguments):
            nonlocal count
            count += 1
            if count >= statement:
                raise Killed
            return super().execute(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", lambda *args, **kwargs: connect(*args, factory=KilledConnection, **kwargs))
        with pytest.raises(Killed):
            with_store(tmp_path)
    with_store(tmp_path)


# A full disk


@pytest.mark.parametrize("name", ["master.key", "credentials", "run.json", "certificate-key.pem"])
def test_the_message_for_a_full_disk_at_the_first_start_names_the_file(tmp_path, monkeypatch, name):
    real = os.open

    def full(path, *arguments, **options):
        if os.fspath(path).endswith(".new") and data_directory.Path(path).name.startswith(name.partition(".")[0]):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, *arguments, **options)

    path = tmp_path / "data"
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", full)
        with pytest.raises(DataDirectoryError, match=rf"/{name} cannot be written: No space left on device\."):
            start_and_stop(path, tls_certificate="self-signed")
    start_and_stop(path, tls_certificate="self-signed")


@pytest.mark.parametrize("octets", [0, 100, 4096, 60_000])
def test_a_first_start_without_disk_space_fails_with_a_message_and_the_next_start_works(tmp_path, octets):
    path = tmp_path / "data"
    ports = ("--http", "127.0.0.1:0", "--smtp", "127.0.0.1:0", "--authentication", "off")
    done = subprocess.run(
        [sys.executable, "-m", "waypost", "serve", "--data", path, *ports],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},  # otherwise it leaves a truncated compiled module in src
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (octets, octets)),
    )
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (1, "", False)
    (message,) = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert message.startswith(f"waypost: {path}/")
    start_and_stop(path)


# PostgreSQL


@pytest.fixture
def database():
    url = postgresql.new_database()
    yield url
    postgresql.drop_database(url)


@pytest.fixture
def node(tmp_path, database):
    """The data directory of a server on PostgreSQL that has stopped."""
    start_and_stop(tmp_path / "node", database=database)
    return tmp_path / "node"


def test_a_server_does_not_start_if_its_postgresql_database_was_emptied(node, database):
    other = postgresql.new_database()
    (node / "database").write_text(f"{other}\n")
    try:
        message = refusal(node)
        assert (
            "contains none of Waypost's tables, but a server has stored data there, according to database, lock and "
            "credentials in " in message
        )
        assert "Restore the database from your backup, or name the database that has the data." in message
        assert message.endswith(f"remove {node}/database, {node}/lock and {node}/credentials.")
        (node / "database").unlink()
        assert refusal(node, database=other).endswith(f"remove {node}/lock and {node}/credentials.")
        (node / "lock").unlink()
        (node / "credentials").unlink()
        start_and_stop(node, database=other)
    finally:
        postgresql.drop_database(other)


def test_no_sqlite_file_is_created_if_the_file_database_of_a_postgresql_node_was_removed(node, database):
    (node / "database").unlink()
    assert "waypost.sqlite3 is missing" in refusal(node)
    start_and_stop(node, database=database)


def test_a_server_whose_data_was_moved_to_postgresql_starts_on_postgresql(data, node, database):
    for name in ("master.key", "credentials"):
        (data / name).write_bytes((node / name).read_bytes())
    (data / "waypost.sqlite3").unlink()
    start_and_stop(data, database=database)


def test_a_first_start_on_postgresql_that_was_killed_can_be_repeated(tmp_path, database, monkeypatch):
    def killed_here(*_, **__):
        raise Killed

    for name in ("remember_database", "write_credentials"):
        with monkeypatch.context() as patched:
            patched.setattr(DataDirectory, name, killed_here)
            with pytest.raises(Killed):
                start_and_stop(tmp_path / "node", database=database)
    start_and_stop(tmp_path / "node", database=database)


def test_the_master_key_can_be_copied_to_another_node_before_its_first_start(node, database, tmp_path):
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "master.key").write_bytes((node / "master.key").read_bytes())
    start_and_stop(tmp_path / "second", database=database)
