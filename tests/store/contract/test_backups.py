"""Copies of both stores: they are consistent while others write, and data that breaks a rule is found and named."""

import contextlib
import sqlite3

import psycopg
import pytest
from msgspec.structs import replace

from tests.kit.stores import postgresql
from tests.kit.values import NOW, NoSeal
from waypost.app import ports
from waypost.domain.mail import checksums
from waypost.store import migrations
from waypost.store.common import verifying
from waypost.store.common.verifying import DAMAGED, RULES, TOO_OLD
from waypost.store.postgres import backups as postgres_backups
from waypost.store.sqlite import backups as sqlite_backups

SOUND = """
INSERT INTO instances (id, account, region, identity_management_type, inbound_calls_enabled, outbound_calls_enabled,
                       created_at) VALUES ('i', '0', 'us-east-1', 'SAML', {true}, {true}, 5),
                                          ('j', '0', 'us-east-1', 'SAML', {true}, {true}, 5);
INSERT INTO email_addresses (id, instance_id, account, address, address_key, created_at, modified_at)
VALUES ('p', 'i', '0', 'p@x', 'p@x', 5, 6), ('a', 'i', '0', 'a@x', 'a@x', 5, 6), ('c', 'i', '0', 'c@x', 'c@x', 5, 6),
       ('o', 'j', '0', 'o@x', 'o@x', 5, 6);
INSERT INTO alias_link_ends (email_address_id, side, other_id, other_side, created_at)
VALUES ('p', 'primary', 'a', 'alias', 0), ('a', 'alias', 'p', 'primary', 0);
INSERT INTO messages (id, sender, recipients, helo, peer, protocol, received_at, size, subject)
VALUES ('m', '', '[]', '', '', '', 5, 4, ''), ('n', '', '[]', '', '', '', 5, 9, ''),
       ('e', '', '[]', '', '', '', 5, 0, '');
INSERT INTO message_bodies (message_id, start, octets) VALUES ('m', 0, {hi}), ('m', 2, {hi}), ('b', 0, {hi});
INSERT INTO messages_begun (message_id, begun_at) VALUES ('b', 5);
INSERT INTO deliveries (message_id, email_address_id, account, address, address_key, reason, sent_to, status,
                        trace_header, kept, destination)
VALUES ('m', 'p', '0', 'p@x', 'p@x', 'direct', '', 'delivered', {hi}, {true}, ''),
       ('m', 'a', '0', 'a@x', 'a@x', 'direct', '', 'queued', {hi}, {true}, 'd'),
       ('e', 'a', '0', 'a@x', 'a@x', 'direct', '', 'delivered', {hi}, {true}, ''),
       ('n', 'a', '0', 'a@x', 'a@x', 'direct', '', 'delivered', {hi}, {false}, 'd');
INSERT INTO queue (message_id, email_address_id, account, destination, due_at, claim, attempts, queued_at)
VALUES ('m', 'a', '0', 'd', 5, '', 0, 5);
"""
"""Data that breaks no rule: two instances, a link, messages of several kinds, one that is being received, and a queue.
"""

WORDS = {
    "sqlite": {"true": "1", "false": "0", "hi": "x'6869'"},
    "postgres": {"true": "true", "false": "false", "hi": "'hi'"},
}

BREAKING = {
    "addresses_without_instance": [("UPDATE email_addresses SET instance_id = 'gone' WHERE id = 'c'", ["c"])],
    "links_without_address": [("DELETE FROM email_addresses WHERE id = 'a'", ["a"])],
    "links_not_of_two": [
        ("DELETE FROM alias_link_ends WHERE email_address_id = 'a'", ["p"]),
        # a chain: the alias p of c has the alias a
        ("INSERT INTO alias_link_ends VALUES ('c', 'primary', 'p', 'alias', 0)", ["c"]),
        # a second alias
        ("INSERT INTO alias_link_ends VALUES ('c', 'alias', 'p', 'primary', 0)", ["c"]),
        ("UPDATE alias_link_ends SET other_id = 'c' WHERE email_address_id = 'p'", ["a", "p"]),
    ],
    "links_between_instances": [("UPDATE email_addresses SET instance_id = 'j' WHERE id = 'a'", ["a", "p"])],
    "messages_without_octets": [
        ("DELETE FROM message_bodies WHERE message_id = 'm'", ["m"]),
        ("UPDATE deliveries SET kept = {true} WHERE message_id = 'n'", ["n"]),
    ],
    "messages_with_wrong_octets": [
        ("DELETE FROM message_bodies WHERE message_id = 'm' AND start = 0", ["m"]),
        ("DELETE FROM message_bodies WHERE message_id = 'm' AND start = 2", ["m"]),
        ("UPDATE message_bodies SET start = 3 WHERE message_id = 'm' AND start = 2", ["m"]),
        ("UPDATE messages SET size = 5 WHERE id = 'm'", ["m"]),
    ],
    "octets_without_message": [("DELETE FROM messages_begun", ["b"])],
    "deliveries_without_message": [("DELETE FROM messages WHERE id = 'e'", ["e.a"])],
    "events_without_message": [("INSERT INTO trace_events VALUES ('gone', 0, 5, '', '{{}}')", ["gone"])],
    "plans_without_message": [("INSERT INTO planned_deliveries VALUES ('gone', 0, '')", ["gone"])],
    "queue_without_message": [("UPDATE queue SET message_id = 'gone'", ["gone.a"])],
    "queue_without_delivery": [
        ("UPDATE deliveries SET status = 'delivered' WHERE email_address_id = 'a' AND message_id = 'm'", ["m.a"])
    ],
    "deliveries_without_queue": [("DELETE FROM queue", ["m.a"])],
}
"""For each rule: changes that break it, and the ids that are then found."""

TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"

MOST_STEPS = 1_000
"""More steps than a copy has."""

CASES = [(rule, change, ids) for rule, cases in BREAKING.items() for change, ids in cases]


@pytest.fixture
def sound(engine, database):
    """An engine, and a database with data that breaks no rule."""
    engine.execute(database, *SOUND.format_map(WORDS[engine.name]).split(";\n"))
    return engine, database


def found_in(engine, database):
    if engine.name == "sqlite":
        return list(sqlite_backups.verify(database, NoSeal(), is_in_use=True))
    return list(postgres_backups.verify(database, NoSeal()))


def copied(engine, database, directory, told=lambda *_: None):
    """Copy a database to a directory, and return the description of the copy."""
    if engine.name == "sqlite":
        return sqlite_backups.copy(database, directory / "copy", told)
    return postgres_backups.copy(database, directory / "tables", told)


def found_in_copy(engine, database, directory):
    """Return what is found in a backup of a database."""
    found = copied(engine, database, directory)
    if engine.name == "sqlite":
        return list(sqlite_backups.verify(directory / "copy", NoSeal(), is_in_use=False))
    return list(sqlite_backups.broken_rules_of(directory / "tables", found))


def restored(directory, found):
    """Restore a copy of PostgreSQL to a new database, and return its URL."""
    url = postgresql.new_database()
    postgres_backups.restore(url, directory / "tables", found, NOW, lambda _: None)
    return url


def rows_of(url):
    """Return the rows of each table of a PostgreSQL database, except the table of migrations."""
    with psycopg.connect(url) as connection:
        tables = [name for (name,) in connection.execute(TABLES) if name != "migrations"]
        return {name: connection.execute(f"SELECT t::text FROM {name} AS t ORDER BY 1").fetchall() for name in tables}


@pytest.fixture
def on_postgresql(sound):
    engine, database = sound
    if engine.name != "postgres":
        pytest.skip("a copy of SQLite is a file of SQLite")
    return engine, database


# Copies


def test_a_copy_is_the_state_at_its_beginning_while_others_write(sound, tmp_path, monkeypatch):
    """SQLite would begin the copy again with each write, and never end, if no transaction read the database."""
    engine, database = sound
    monkeypatch.setattr(sqlite_backups, "PAGES_EACH", 1)
    written = 0

    def write(*_):
        nonlocal written
        written += 1
        assert written < MOST_STEPS
        engine.execute(database, f"INSERT INTO messages_begun (message_id, begun_at) VALUES ('w{written}', 5)")

    found = copied(engine, database, tmp_path, write)
    assert written > 5
    assert found.tables["messages_begun"].rows == 1
    (tmp_path / "later").mkdir()
    assert copied(engine, database, tmp_path / "later").tables["messages_begun"].rows == 1 + written


def test_the_progress_ends_with_all(sound, tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_backups, "PAGES_EACH", 1)
    told = []
    copied(*sound, tmp_path, lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1] > 0


def test_a_restored_database_is_equal_and_counts_on(on_postgresql, tmp_path):
    engine, database = on_postgresql
    refusal = "INSERT INTO refusals (at, peer, helo, sender, recipient, recipient_key, stage, reply, detail) VALUES {}"
    engine.execute(database, refusal.format(", ".join(["(5, 'p\t\\', 'ü\n', '', 'r', 'r', 'rcpt', '', '')"] * 3)))
    engine.execute(database, "DELETE FROM refusals WHERE number > 1")  # the numbers are never used again
    found = copied(engine, database, tmp_path)
    url = restored(tmp_path, found)
    assert rows_of(url) == rows_of(database)
    assert engine.catalogue(url) == engine.catalogue(database)
    assert found.counters == {"mail_changes.number": 0, "refusals.number": 3, "search_entries.number": 0}
    engine.execute(url, refusal.format("(5, '', '', '', '', '', 'rcpt', '', '')"))
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT max(number) FROM refusals").fetchone() == (4,)
    engine.drop(url)


def test_claims_of_the_original_end_with_a_restore(on_postgresql, tmp_path):
    engine, database = on_postgresql
    engine.execute(database, "UPDATE queue SET claim = 'a claim', due_at = 10")
    url = restored(tmp_path, copied(engine, database, tmp_path))
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT claim, due_at FROM queue").fetchone() == ("", NOW.timestamp() * 1000)
    engine.drop(url)


def test_a_copy_with_an_older_schema_is_restored_and_then_migrated(engine, empty, tmp_path, monkeypatch):
    if engine.name != "postgres":
        pytest.skip("a copy of SQLite is a file of SQLite")
    known = migrations.known("postgres")
    monkeypatch.setattr(migrations, "known", lambda _: known[:2])
    engine.migrate(empty)
    monkeypatch.undo()
    found = copied(engine, empty, tmp_path)
    assert (found.schema, "queue" in found.tables) == (2, False)
    url = restored(tmp_path, found)
    engine.migrate(url)
    newest = engine.fresh()
    assert engine.catalogue(url) == engine.catalogue(newest)
    for database in (url, newest):
        engine.drop(database)


def test_a_backup_with_a_table_that_is_not_one_of_waypost_is_not_restored(on_postgresql, tmp_path):
    engine, database = on_postgresql
    found = copied(engine, database, tmp_path)
    foreign = replace(found, tables={**found.tables, "pg_authid": found.tables["messages"]})
    empty = engine.empty()
    with pytest.raises(ports.StoreUnavailable, match="tables that are not those of Waypost: pg_authid"):
        postgres_backups.restore(empty, tmp_path / "tables", foreign, NOW, lambda _: None)
    engine.drop(empty)


def test_a_database_with_tables_is_not_restored_to(on_postgresql, tmp_path):
    engine, database = on_postgresql
    found = copied(engine, database, tmp_path)
    before = rows_of(database)
    with pytest.raises(ports.StoreUnavailable, match="is not empty: it has the tables access_keys, alias_link_ends, "):
        postgres_backups.restore(database, tmp_path / "tables", found, NOW, lambda _: None)
    with pytest.raises(ports.StoreUnavailable, match="is not empty"):
        postgres_backups.refuse_filled(database)
    assert rows_of(database) == before


# Rules


def test_sound_data_and_its_backup_have_no_findings(sound, tmp_path):
    assert found_in(*sound) == found_in_copy(*sound, tmp_path) == []


@pytest.mark.parametrize(("rule", "change", "ids"), CASES)
def test_each_broken_rule_is_found_with_the_ids_also_in_a_backup(sound, rule, change, ids, tmp_path):
    engine, database = sound
    change = change.format_map(WORDS[engine.name])
    if engine.name == "postgres":
        try:
            engine.execute(database, change)
        except psycopg.errors.IntegrityError:
            pytest.skip("a constraint of PostgreSQL prevents this change")
    else:
        with contextlib.closing(sqlite3.connect(database)) as connection, connection:
            connection.execute(change)
    found = found_in(engine, database)
    assert [one.id for one in found if one.what == RULES[rule]] == ids
    assert found_in_copy(engine, database, tmp_path) == found


@pytest.mark.parametrize("at_once", [1, 2, 9])
def test_messages_with_damaged_bytes_are_found_once_each_also_in_a_backup(sound, tmp_path, monkeypatch, at_once):
    """A piece without a checksum is of an older version, so it cannot be checked."""
    engine, database = sound
    monkeypatch.setattr(verifying, "PIECES_AT_ONCE", at_once)
    for message_id, start in [("m", 0), ("m", 2), ("b", 0)]:
        checksum = checksums.of_piece(message_id, start, b"hi")
        where = f"message_id = '{message_id}' AND start = {start}"
        engine.execute(database, f"UPDATE message_bodies SET checksum = {checksum} WHERE {where}")
    assert found_in(engine, database) == []
    ho = {"sqlite": "x'686f'", "postgres": "'ho'"}[engine.name]
    engine.execute(database, f"UPDATE message_bodies SET octets = {ho}")
    engine.execute(database, "UPDATE message_bodies SET checksum = NULL WHERE message_id = 'b'")
    found = found_in(engine, database)
    assert [(one.what, one.id) for one in found] == [(DAMAGED, "m")]
    assert found_in_copy(engine, database, tmp_path) == found


def test_each_rule_has_a_case():
    assert set(BREAKING) == set(RULES)


def test_the_rules_of_this_version_are_not_applied_to_an_older_schema(sound):
    engine, database = sound
    engine.execute(database, "DELETE FROM migrations WHERE number = (SELECT max(number) FROM migrations)")
    assert [one.what for one in found_in(engine, database)] == [TOO_OLD]


def test_rows_that_refer_to_missing_rows_are_counted_by_table(sound):
    engine, database = sound
    if engine.name == "postgres":
        pytest.skip("PostgreSQL checks each reference itself")
    engine.execute(database, "DELETE FROM instances WHERE id = 'i'")
    assert ("email_addresses", "Rows of this table refer to missing rows of instances: 3.") in [
        (one.id, one.what) for one in found_in(engine, database)
    ]


def test_damage_in_the_file_is_found(sound):
    engine, database = sound
    if engine.name == "postgres":
        pytest.skip("PostgreSQL has no such check without an extension")
    octets = bytearray(database.read_bytes())
    for page in range(1, len(octets) // 4096):
        octets[page * 4096 : page * 4096 + 8] = b"\xff" * 8
    database.write_bytes(octets)
    assert found_in(engine, database)
