"""Damage of an SQLite file and of its log is found, and what a power failure leaves is not taken for damage."""

import asyncio
import shutil
import sqlite3
from contextlib import closing

import pytest

from tests.kit.values import NoSeal
from waypost.app import ports
from waypost.store.sqlite import backups, log_damage
from waypost.store.sqlite import file as sqlite_file
from waypost.store.sqlite.store import SqliteStore

HEADER, FRAME = 32, 24 + 4096
"""The octets of the log's header, and of a frame with its page."""


def change(connection, count=1, size=10):
    for _ in range(count):
        connection.execute("INSERT INTO t VALUES (zeroblob(?))", (size,))


@pytest.fixture
def database(tmp_path):
    """A file as a killed process leaves it: six transactions are in its log only."""
    used = tmp_path / "used"
    used.mkdir()
    with closing(sqlite_file.connect(used / "file", "rwc")) as connection:
        connection.execute("CREATE TABLE t (octets BLOB)")
        change(connection, 5)
        return copied(used, tmp_path / "killed")


def copied(directory, to):
    shutil.copytree(directory, to)
    return to / "file"


def log_of(database):
    return database.with_name("file-wal")


def frames(database):
    return (log_of(database).stat().st_size - HEADER) // FRAME


def flip(path, position):
    octets = bytearray(path.read_bytes())
    octets[position] ^= 4
    path.write_bytes(octets)


@pytest.mark.parametrize("position", [16, HEADER + 100, *(HEADER + FRAME + octet for octet in (3, 9, 17))])
def test_damage_before_acknowledged_transactions_is_found_each_time_and_the_log_is_kept(database, position):
    """The damage is in the log's header, in a page, and in the page number, the salts and the checksum of a frame."""
    flip(log_of(database), position)
    before = log_of(database).read_bytes()
    for _ in range(2):
        with pytest.raises(log_damage.LogDamaged, match="file-wal is damaged near frame"):
            log_damage.refuse(database)
    assert log_of(database).read_bytes() == before


def test_a_log_without_damage_is_not_refused(database):
    log_damage.refuse(database)
    log_of(database).unlink()
    log_damage.refuse(database)


def test_a_last_transaction_that_is_torn_is_not_damage(database):
    flip(log_of(database), HEADER + (frames(database) - 1) * FRAME + 500)
    log_damage.refuse(database)


def test_frames_from_before_a_checkpoint_are_not_damage(database, tmp_path):
    with closing(sqlite_file.connect(database, "rw")) as connection:
        change(connection, 20)
        connection.execute("PRAGMA wal_checkpoint(RESTART)")
        change(connection)
        again = copied(database.parent, tmp_path / "again")
    log_damage.refuse(again)


def test_the_rests_of_transactions_that_failed_are_not_damage(database, tmp_path):
    """Two transactions failed after their frames were written. A shorter one follows each of them in the same place."""
    rests = []
    for number, size in enumerate((60_000, 30_000)):
        failed = copied(database.parent, tmp_path / str(number))
        with closing(sqlite_file.connect(failed, "rw")) as connection:
            change(connection, size=size)
            rests.append(log_of(failed).read_bytes())
    octets = bytearray(rests[0])
    octets[: len(rests[1])] = rests[1]
    last = HEADER + frames(database) * FRAME
    octets[last + 20] ^= 1  # the first frame was overwritten
    log_of(database).write_bytes(octets)
    log_damage.refuse(database)


def test_a_store_with_a_damaged_log_is_not_opened_and_the_message_says_what_to_do(database):
    flip(log_of(database), HEADER + 100)

    async def open_it():
        SqliteStore(database, NoSeal())

    with pytest.raises(ports.StoreUnavailable, match=r"file-wal is damaged .*'PRAGMA wal_checkpoint\(TRUNCATE\)'$"):
        asyncio.run(open_it())
    with closing(sqlite3.connect(database)) as connection:  # what the message says
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    log_damage.refuse(database)


def test_verify_finds_damage_in_the_log(database):
    flip(log_of(database), HEADER + FRAME + 3)
    findings = backups.verify(database, None, is_in_use=True)
    assert "file-wal is damaged" in str(next(findings))
    with pytest.raises(ports.StoreUnavailable, match="contains none of Waypost's tables"):
        list(findings)


def test_verify_names_a_schema_that_cannot_be_read(tmp_path):
    async def create():
        await SqliteStore(tmp_path / "file", NoSeal()).close()

    asyncio.run(create())
    octets = (tmp_path / "file").read_bytes()
    (tmp_path / "file").write_bytes(octets.replace(b"CREATE TABLE messages", b"CREATE TAB\xffE messages"))
    (finding,) = backups.verify(tmp_path / "file", None, is_in_use=False)
    assert "SQLite cannot read the file" in str(finding)


@pytest.mark.parametrize(
    "then", [lambda log: log.unlink(), lambda log: log.write_bytes(b"")], ids=["removed", "emptied"]
)
def test_a_log_that_another_process_removes_or_makes_again_at_this_moment_is_not_damaged(database, monkeypatch, then):
    """The last process that closes the file removes its log, and the next one that opens it makes an empty one."""
    real = sqlite_file.connect

    def connect_late(path, mode):
        with closing(real(path, "rw")) as connection:
            connection.execute("SELECT count(*) FROM t").fetchone()
        connection = real(path, mode)
        connection.execute("SELECT count(*) FROM t").fetchone()
        then(log_of(database))
        return connection

    monkeypatch.setattr(log_damage.sqlite_file, "connect", connect_late)
    log_damage.refuse(database)
