"""Data that breaks a rule is found and named, on both stores."""

import contextlib
import sqlite3

import psycopg
import pytest

from tests.kit.stores.both_stores import ENGINES
from tests.kit.values import NoSeal
from waypost.store.common.verifying import RULES, TOO_OLD
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

CASES = [(rule, change, ids) for rule, cases in BREAKING.items() for change, ids in cases]


@pytest.fixture(scope="module")
def engines():
    made = {}
    yield lambda name: made.setdefault(name, ENGINES[name]())
    for engine in made.values():
        engine.close()


@pytest.fixture(params=ENGINES)
def sound(request, engines):
    """An engine, and a database with data that breaks no rule."""
    engine = engines(request.param)
    database = engine.fresh()
    engine.execute(database, *SOUND.format_map(WORDS[engine.name]).split(";\n"))
    yield engine, database
    engine.drop(database)


def found_in(engine, database):
    if engine.name == "sqlite":
        return list(sqlite_backups.verify(database, NoSeal(), is_in_use=True))
    return list(postgres_backups.verify(database, NoSeal()))


def found_in_copy(engine, database, directory):
    """Return what is found in a backup of a database."""
    if engine.name == "sqlite":
        sqlite_backups.copy(database, directory / "copy", lambda *_: None)
        return list(sqlite_backups.verify(directory / "copy", NoSeal(), is_in_use=False))
    copied = postgres_backups.copy(database, directory / "tables", lambda *_: None)
    return list(sqlite_backups.broken_rules_of(directory / "tables", copied))


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
