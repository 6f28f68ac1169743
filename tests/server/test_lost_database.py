"""A data directory whose database was lost, emptied or damaged never becomes an empty server: that refuses all mail."""

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
from waypost.host.data_directory import MASTER_KEY_VARIABLE, DataDirectory, DataDirectoryError
from waypost.server import opening, owner
from waypost.server import service as services

pytestmark = pytest.mark.slow

KEY = base64.urlsafe_b64encode(b"k" * 32).decode()
COPIED = (
    b"[default]\naws_access_key_id = AKIAONE\naws_secret_access_key = one\naws_account_id = 000000000000\nregion = x\n"
)


def started(path, **settings):
    """Start a server and stop it again."""

    async def start():
        service = services.Service(from_options(data=str(path), http="127.0.0.1:0", smtp="127.0.0.1:0", **settings))
        await service.start()
        await service.stop()

    asyncio.run(start())


def kept(path):
    """The files with something in them, but for what SQLite makes whenever it looks at a database."""
    return {file.name: file.read_bytes() for file in path.iterdir() if not file.name.endswith("-shm")}


def refused(path, **settings):
    """The sentence with which a server does not start; it has changed nothing then."""
    before = kept(path)
    with pytest.raises((opening.CannotStart, DataDirectoryError)) as caught:
        started(path, **settings)
    assert {name: octets for name, octets in kept(path).items() if octets or name in before} == before
    return str(caught.value)


def opened(path, use_case=lambda _: None, **options):
    """Run a use case on the store, opened as a server does it."""

    async def run():
        store = opening.open_store(DataDirectory(path), **options)
        try:
            return await store.write(use_case)
        finally:
            await store.close()

    return asyncio.run(run())


@pytest.fixture
def data(tmp_path):
    """A data directory of a server that has stopped."""
    started(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def killed(tmp_path):
    """A data directory with a database whose server was killed before anything was copied out of the log."""
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


# Lost


def test_a_server_does_not_start_on_a_database_that_is_missing(data):
    (data / "waypost.sqlite3").unlink()
    assert refused(data) == (
        f"{data}/waypost.sqlite3 is missing, but a server has kept its data there, as lock and credentials in "
        f"{data} show. Restore the database from your backup. If the data is in PostgreSQL, name the database with "
        f"--database. To start anew, without email addresses and mail, remove {data}/lock and {data}/credentials."
    )


def test_a_server_does_not_start_on_a_database_that_is_empty(data):
    os.truncate(data / "waypost.sqlite3", 0)
    assert refused(data).startswith(f"{data}/waypost.sqlite3 is empty, but a server has kept its data there, as ")


def test_a_server_does_not_start_on_a_database_without_tables(data):
    (data / "waypost.sqlite3").unlink()
    with contextlib.closing(sqlite3.connect(data / "waypost.sqlite3")) as other:
        other.executescript("PRAGMA journal_mode = WAL; CREATE TABLE t (x); DROP TABLE t")
    said = refused(data)
    assert said.startswith(
        f"{data}/waypost.sqlite3 has no tables of Waypost, but a server has kept its data there, as "
    )
    assert said.endswith(f"remove {data}/lock and {data}/credentials.")


@pytest.mark.parametrize("left", ["lock", "credentials"])
def test_one_file_that_only_a_server_writes_shows_that_it_had_a_database(data, left):
    for file in data.iterdir():
        if file.name != left:
            file.unlink()
    said = refused(data)
    assert f"as {left} in {data} show" in said
    assert said.endswith(f"remove {data}/{left}.")


def test_the_removal_of_the_named_files_starts_anew(data):
    (data / "waypost.sqlite3").unlink()
    assert refused(data).endswith(f"remove {data}/lock and {data}/credentials.")
    (data / "lock").unlink()
    (data / "credentials").unlink()
    started(data)


def test_a_command_does_not_make_a_database_that_was_lost(data):
    (data / "waypost.sqlite3").unlink()
    for make in (False, True):
        with pytest.raises(DataDirectoryError, match=r"waypost\.sqlite3 is missing"):
            asyncio.run(opening.administer(DataDirectory(data), lambda _: None, make=make))
    assert not (data / "waypost.sqlite3").exists()


def test_a_write_ahead_log_that_is_missing_after_a_kill_is_noticed(killed):
    (killed / "waypost.sqlite3-wal").unlink()
    said = refused(killed)
    assert said.startswith(f"{killed}/waypost.sqlite3-wal is missing. A server that did not end in order had its last ")
    assert said.endswith(f"To start without these changes, remove {killed}/waypost.sqlite3-shm.")
    (killed / "waypost.sqlite3-shm").unlink()
    assert f"{killed}/waypost.sqlite3 has no tables of Waypost" in refused(killed)


def test_a_write_ahead_log_that_was_cut_opens_or_is_refused_in_a_sentence(killed):
    log = killed / "waypost.sqlite3-wal"
    os.truncate(log, log.stat().st_size * 2 // 3)
    (killed / "waypost.sqlite3-shm").unlink()
    started(killed)  # all that was committed in what is left of the log
    os.truncate(killed / "waypost.sqlite3", 0)
    assert "is empty" in refused(killed)


def test_a_server_that_was_killed_has_its_data_at_the_next_start(killed):
    assert opened(killed, lambda tx: tx.instance(TENANT, "i") is not None)


# Damaged


def test_a_database_that_was_cut_to_half_is_named_with_what_to_do(data):
    os.truncate(data / "waypost.sqlite3", (data / "waypost.sqlite3").stat().st_size // 2)
    said = refused(data)
    assert said.startswith(f"{data}/waypost.sqlite3 cannot be opened: ")
    assert "The file is damaged. Restore it from your backup." in said
    assert f"`sqlite3 {data}/waypost.sqlite3 .recover`" in said


@pytest.mark.parametrize("seed", range(6))
def test_a_database_with_random_octets_opens_or_is_refused_in_a_sentence(data, seed):
    opened(data, make_instance)
    some = random.Random(seed)
    with (data / "waypost.sqlite3").open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        for _ in range(40):
            file.seek(some.randrange(8192, size - 64))
            file.write(some.randbytes(64))
    with contextlib.suppress(opening.CannotStart, ports.StoreUnavailable):
        assert opened(data, lambda tx: tx.instance(TENANT, "i"))  # where the octets fell, nothing was


@pytest.mark.parametrize("seed", range(6))
def test_a_database_with_random_pages_is_named_with_what_to_do(data, seed):
    some = random.Random(seed)
    with (data / "waypost.sqlite3").open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        for page in some.sample(range(1, size // 4096), 5):
            file.seek(page * 4096)
            file.write(some.randbytes(4096))
    assert "The file is damaged. Restore it from your backup." in refused(data)


def test_a_file_of_which_one_page_is_damaged_is_found_out_at_the_start(data):
    with contextlib.closing(sqlite3.connect(data / "waypost.sqlite3")) as other:
        ((page,),) = other.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'messages'").fetchall()
        ((size,),) = other.execute("PRAGMA page_size").fetchall()
    with (data / "waypost.sqlite3").open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    assert "The file is damaged." in refused(data)


def test_a_large_file_is_looked_at_for_a_while_only(data, monkeypatch):
    set_limits(monkeypatch, damage_check=-1.0)
    monkeypatch.setattr("waypost.store.sqlite.file.STEPS_BETWEEN_CHECKS", 1)
    started(data)


@pytest.mark.parametrize("text", ["", "\n", "somewhere", "\xff"])
def test_a_file_database_without_a_url_ends_the_start(tmp_path, text):
    (tmp_path / "database").write_bytes(text.encode("latin-1"))
    assert refused(tmp_path) == (
        f"{tmp_path}/database must have the URL of a PostgreSQL database, without its password. Restore it from your "
        "backup, or write that URL into it."
    )


@pytest.mark.parametrize(
    ("octets", "fault"),
    [
        (b"", " has no profile."),
        (b"[default]\n", ": the profile [default] lacks aws_access_key_id."),
        (COPIED[:38], ": the profile [default] lacks aws_secret_access_key."),
        (b"\xff", " is no AWS shared-credentials file."),
        (b"aws", " is no AWS shared-credentials file."),
    ],
)
def test_a_credentials_file_that_was_cut_is_named_with_what_to_do(data, octets, fault):
    (data / "credentials").write_bytes(octets)
    said = refused(data)
    assert said == (
        f"{data}/credentials{fault} Restore it from your backup, or remove it: the next start writes it again, with "
        "the owner's access key."
    )
    (data / "credentials").unlink()
    started(data)
    assert DataDirectory(data).profiles()


@pytest.mark.parametrize("text", ["", "cut", None])
def test_a_master_key_that_is_not_there_whole_is_named_with_what_to_do(data, text):
    if text is None:
        (data / "master.key").unlink()
    else:
        (data / "master.key").write_text(text)
    said = refused(data)
    assert said.startswith(f"{data}/master.key ")
    assert "Restore it from your backup" in said


# New


def test_a_credentials_file_from_before_keys_were_stored_is_adopted(tmp_path):
    (tmp_path / "credentials").write_bytes(COPIED)
    started(tmp_path)
    assert opened(tmp_path, lambda tx: tx.access_key("AKIAONE") is not None)


def test_a_master_key_that_was_put_there_before_the_first_start_is_used(tmp_path):
    (tmp_path / "lock").touch()  # by a start that failed
    (tmp_path / "master.key").write_text(f"{KEY}\n")
    started(tmp_path)
    assert (tmp_path / "master.key").read_text() == f"{KEY}\n"


def test_an_empty_file_in_a_new_directory_is_not_taken_for_a_lost_database(tmp_path, monkeypatch):
    monkeypatch.setenv(MASTER_KEY_VARIABLE, KEY)
    (tmp_path / "waypost.sqlite3").touch()
    started(tmp_path)


def test_a_directory_of_an_earlier_version_opens_and_is_marked(data):
    os.truncate(data / "lock", 0)
    started(data)
    assert (data / "lock").read_bytes() == b"A server has kept its data here.\n"


def test_a_database_of_an_earlier_version_that_was_lost_is_known_by_its_credentials(data):
    os.truncate(data / "lock", 0)
    (data / "waypost.sqlite3").unlink()
    assert f"as credentials in {data} show" in refused(data)


_STEPS = (
    (DataDirectory, "derived_key"),
    (owner, "adopting"),
    (DataDirectory, "write_credentials"),
    (DataDirectory, "announce"),
    (os, "replace"),
    (os, "link"),
    (sqlite3, "connect"),
)


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize(("owner", "name"), _STEPS, ids=[name for _, name in _STEPS])
def test_a_first_start_that_was_killed_can_be_repeated(tmp_path, monkeypatch, owner, name):
    def dies(*_, **__):
        raise Killed

    path = tmp_path / "data"
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, dies)
        # What the dying process would clean up stays, as it does after a kill.
        patched.setattr(os, "unlink", lambda *_, **__: None)
        with pytest.raises(Killed):
            started(path)
    started(path)
    assert {file.name for file in path.iterdir()} == {"waypost.sqlite3", "credentials", "master.key", "lock"}


@pytest.mark.parametrize("statement", range(1, 60, 3))
def test_a_first_start_that_was_killed_in_a_migration_can_be_repeated(tmp_path, monkeypatch, statement):
    connect = sqlite3.connect
    count = 0

    class Dying(sqlite3.Connection):
        def execute(self, *arguments):
            nonlocal count
            count += 1
            if count >= statement:
                raise Killed
            return super().execute(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", lambda *args, **kwargs: connect(*args, factory=Dying, **kwargs))
        with pytest.raises(Killed):
            opened(tmp_path)
    opened(tmp_path)


# A full disk


@pytest.mark.parametrize("name", ["master.key", "credentials", "run.json", "certificate-key.pem"])
def test_a_full_disk_at_the_first_start_is_an_error_message(tmp_path, monkeypatch, name):
    real = os.open

    def full(path, *arguments, **options):
        if os.fspath(path).endswith(".new") and data_directory.Path(path).name.startswith(name.partition(".")[0]):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, *arguments, **options)

    path = tmp_path / "data"
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", full)
        with pytest.raises(DataDirectoryError, match=rf"/{name} cannot be written: No space left on device\."):
            started(path, tls_certificate="self-signed")
    started(path, tls_certificate="self-signed")


@pytest.mark.parametrize("octets", [0, 100, 4096, 60_000])
def test_a_first_start_without_disk_space_says_so_and_the_next_one_works(tmp_path, octets):
    path = tmp_path / "data"
    ports = ("--http", "127.0.0.1:0", "--smtp", "127.0.0.1:0", "--authentication", "off")
    done = subprocess.run(
        [sys.executable, "-m", "waypost", "serve", "--data", path, *ports],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},  # or it would leave a part of a compiled module in src
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (octets, octets)),
    )
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (1, "", False)
    (said,) = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert said.startswith(f"waypost: {path}/")
    started(path)


# PostgreSQL


@pytest.fixture
def database():
    url = postgresql.new_database()
    yield url
    postgresql.drop_database(url)


@pytest.fixture
def node(tmp_path, database):
    """A data directory of a server on PostgreSQL that has stopped."""
    started(tmp_path / "node", database=database)
    return tmp_path / "node"


def test_a_server_does_not_start_on_a_postgresql_database_that_was_emptied(node, database):
    other = postgresql.new_database()
    (node / "database").write_text(f"{other}\n")
    try:
        said = refused(node)
        assert (
            "has no tables of Waypost, but a server has kept its data there, as database, lock and credentials in "
            in said
        )
        assert "Restore the database from your backup, or name the database that has its data." in said
        assert said.endswith(f"remove {node}/database, {node}/lock and {node}/credentials.")
        (node / "database").unlink()
        assert refused(node, database=other).endswith(f"remove {node}/lock and {node}/credentials.")
        (node / "lock").unlink()
        (node / "credentials").unlink()
        started(node, database=other)
    finally:
        postgresql.drop_database(other)


def test_a_directory_of_postgresql_whose_file_database_was_removed_gets_no_sqlite_file(node, database):
    (node / "database").unlink()
    assert "waypost.sqlite3 is missing" in refused(node)
    started(node, database=database)


def test_a_directory_whose_data_was_moved_to_postgresql_starts_there(data, node, database):
    for name in ("master.key", "credentials"):
        (data / name).write_bytes((node / name).read_bytes())
    (data / "waypost.sqlite3").unlink()
    started(data, database=database)


def test_a_first_start_on_postgresql_that_was_killed_can_be_repeated(tmp_path, database, monkeypatch):
    def dies(*_, **__):
        raise Killed

    for name in ("remember_database", "write_credentials"):
        with monkeypatch.context() as patched:
            patched.setattr(DataDirectory, name, dies)
            with pytest.raises(Killed):
                started(tmp_path / "node", database=database)
    started(tmp_path / "node", database=database)


def test_a_further_node_may_be_given_the_master_key_before_its_first_start(node, database, tmp_path):
    (tmp_path / "further").mkdir()
    (tmp_path / "further" / "master.key").write_bytes((node / "master.key").read_bytes())
    started(tmp_path / "further", database=database)
