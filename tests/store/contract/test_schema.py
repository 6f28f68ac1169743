"""The schema of both stores: each migration runs once, and every way to migrate leads to the same schema."""

import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from tests.kit.patience import PATIENCE
from tests.kit.stores.both_stores import ENGINES, Handle, open_and_close
from tests.kit.stores.calls import all_deliveries_of, check_invariants, create, describe, ids
from tests.kit.values import a_line, make_instance
from waypost.app import ports
from waypost.domain.directory.aliases import AliasLink
from waypost.store import migrations
from waypost.store.sql import tables

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

known = migrations.known


@pytest.fixture
def set_known(engine, monkeypatch):
    """A function that makes the program know only the first migrations, like an older version, or additional ones."""

    def set_migrations(steps, *more):
        monkeypatch.setattr(migrations, "known", lambda dialect: [*known(dialect)[:steps], *more])

    return set_migrations


def applied(engine, database):
    handle = Handle(engine, database)
    found = handle.rows("SELECT number, name FROM migrations ORDER BY number")
    handle.close()
    return found


ROWS_FOR_THE_FIRST_SCHEMA = """
INSERT INTO instances (id, account, region, identity_management_type, inbound_calls_enabled, outbound_calls_enabled,
                       created_at) VALUES ('i', '000000000000', 'us-east-1', 'SAML', {true}, {true}, 5);
INSERT INTO email_addresses (id, instance_id, account, address, address_key, created_at, modified_at)
VALUES ('p', 'i', '000000000000', 'P@example.com', 'p@example.com', 5, 6),
       ('a', 'i', '000000000000', 'a@example.com', 'a@example.com', 5, 6);
INSERT INTO alias_link_ends (email_address_id, side, other_id, other_side, created_at)
VALUES ('p', 'primary', 'a', 'alias', 0), ('a', 'alias', 'p', 'primary', 0);
INSERT INTO tags (resource_id, key, value) VALUES ('p', 'k', 'v'), ('i', 'k', 'v');
INSERT INTO remembered_calls (account, region, operation, scope, token, fingerprint, answer, made_at)
VALUES ('', '', '', '', 't', {octets}, 'done', 5);
INSERT INTO messages (id, sender, recipients, helo, peer, protocol, received_at, size, subject)
VALUES ('m', '', '[]', '', '', '', 5, 2, '');
{more}
"""
DIALECT = {
    "sqlite": {
        "true": "1",
        "octets": "x''",
        "more": "INSERT INTO message_bodies (message_id, raw) VALUES ('m', x'6869')",
    },
    "postgres": {
        "true": "true",
        "octets": "''",
        "more": """
            INSERT INTO message_bodies (message_id, start, octets) VALUES ('m', 0, 'hi');
            INSERT INTO search_entries (email_address_id, instance_id, address, display_name, description, trigrams)
            VALUES ('a', 'i', 'a@example.com', '', '', '{}'), ('p', 'i', 'p@example.com', '', '', '{}')
        """,
    },
}


def test_migrating_step_by_step_keeps_the_data_and_gives_the_same_schema_as_a_new_database(
    engine, empty, database, set_known
):
    for steps in range(1, len(known(engine.name)) + 1):
        set_known(steps)
        engine.migrate(empty)
        if steps == 1:
            engine.execute(empty, *ROWS_FOR_THE_FIRST_SCHEMA.format(**DIALECT[engine.name]).split(";"))
    assert engine.catalogue(empty) == engine.catalogue(database)

    handle = Handle(engine, empty)
    try:
        steps = [(step.number, step.name) for step in known(engine.name)]
        assert handle.rows("SELECT number, name FROM migrations ORDER BY number") == steps
        assert (describe(handle, "p").tags, describe(handle, "a").tags) == ({"k": "v"}, {})
        assert describe(handle, "p").link == describe(handle, "a").link == AliasLink("p", "a", EPOCH)
        assert handle.count("messages", "remembered_calls", "tags") == {"messages": 1, "remembered_calls": 1, "tags": 2}
        assert handle.long_read(lambda tx: tx.octets("m", start=0, limit=9)) == b"hi"
        check_invariants(handle)
        create(handle, "b")
        assert ids(handle) == ["a", "p", "b"]
    finally:
        handle.close()


OLD_MAIL = """
INSERT INTO messages (id, sender, recipients, helo, peer, protocol, received_at, size, subject)
VALUES ('m1', 'ann@example.org', '["x@example.com"]', 'client', '192.0.2.1', 'ESMTP', 5, 2, 'Hello');
INSERT INTO message_bodies (message_id, start, octets) VALUES ('m1', 0, {octets});
INSERT INTO deliveries (message_id, email_address_id, account, address, address_key, reason, sent_to, via, status,
                        trace_header)
VALUES ('m1', 'x', '000000000000', 'X@example.com', 'x@example.com', 'direct', 'x@example.com', NULL, 'delivered',
        {octets});
INSERT INTO trace_events (message_id, number, at, kind, detail) VALUES ('m1', 0, 5, 'accepted', '{{}}')
"""


def test_mail_from_before_the_queue_existed_is_in_its_inbox_and_is_not_queued(engine, empty, set_known):
    set_known([step.name for step in known(engine.name)].index("delivery"))
    engine.migrate(empty)
    octets = {"sqlite": "x'6869'", "postgres": "'hi'"}[engine.name]
    engine.execute(empty, *OLD_MAIL.format(octets=octets).split(";"))
    set_known(None)
    handle = Handle(engine, empty)
    try:
        ((delivery, message),) = handle.long_read(
            lambda tx: tx.deliveries_at("000000000000", "x@example.com", after=None, limit=9)
        )
        assert (delivery.status, delivery.kept, delivery.destination) == ("delivered", True, "")
        assert (message.subject, message.header_id, message.is_authentic) == ("Hello", "", False)
        assert handle.read(lambda tx: (tx.waiting(), tx.routes_revision())) == ([], "")
        handle.write(lambda tx: tx.add_events("m1", [a_line("redriven", EPOCH)]))
        assert [event.kind for event in handle.long_read(lambda tx: tx.trace("m1"))] == ["accepted", "redriven"]
        assert handle.write(lambda tx: tx.remove_octets_if_spent("m1")) is False
        assert handle.write(lambda tx: tx.enqueue(delivery, now=EPOCH)) is True
    finally:
        handle.close()


OLD_TRACES = """
INSERT INTO deliveries (message_id, email_address_id, account, address, address_key, reason, sent_to, via, status,
                        trace_header, destination)
VALUES ('m1', 'y', '000000000000', 'y@example.com', 'y@example.com', 'direct', 'y@example.com', NULL, 'dead', {octets},
        'smtp://there.example:25'),
       ('m1', 'z', '000000000000', 'z@example.com', 'z@example.com', 'direct', 'z@example.com', NULL, 'dead', {octets},
        'smtp://there.example:25');
INSERT INTO trace_events (message_id, number, at, kind, detail) VALUES
    ('m1', 1, 6, 'late bounce', '{{"address": "X@example.com", "bounce": "b1", "action": "delayed"}}'),
    ('m1', 2, 7, 'late bounce', '{{"address": "X@example.com", "action": "failed", "reply": "\\u0000"}}'),
    ('m1', 3, 8, 'dead', '{{"address": "y@example.com", "attempt": 1, "because": "the first time"}}'),
    ('m1', 4, 9, 'dead', '{{"address": "y@example.com", "because": "no, \\ud83d\\ude00 \\\\ user \u062e\u06cc"}}'),
    ('m1', 5, 9, 'dead', '{{"address": "z@example.com", "because": "half \\ud83d of one"}}'),
    ('m1', 6, 9, 'deferred', '{{"address": "z@example.com", "reply": "\\ud800"}}')
"""
HALF_A_CHARACTER = {"sqlite": "", "postgres": "half \ufffd of one"}
"""The reason with half a surrogate pair. SQLite has no regular expressions to replace it, so it drops the reason."""


def test_the_migration_copies_facts_from_old_traces_to_the_deliveries(engine, empty, set_known):
    set_known([step.name for step in known(engine.name)].index("facts_of_deliveries"))
    engine.migrate(empty)
    octets = {"sqlite": "x'6869'", "postgres": "'hi'"}[engine.name]
    engine.execute(empty, *(OLD_MAIL + ";" + OLD_TRACES).format(octets=octets).split(";"))
    set_known(None)
    handle = Handle(engine, empty)
    try:
        deliveries = {one.address.text: one for one in handle.long_read(lambda tx: all_deliveries_of(tx, "m1"))}
        bounced = deliveries["X@example.com"]
        assert handle.read(lambda tx: tx.count_bounces(bounced)) == 2
        assert handle.write(lambda tx: tx.add_bounce(bounced, says_failed=True)) == 2
        listed = handle.long_read(
            lambda tx: tx.dead_letters("000000000000", address_key=None, since=None, after="", limit=9)
        )
        assert [(letter.delivery, letter.given_up_at, letter.because) for letter in listed] == [
            (deliveries["y@example.com"], EPOCH + timedelta(milliseconds=9), "no, \U0001f600 \\ user \u062e\u06cc"),
            (deliveries["z@example.com"], EPOCH + timedelta(milliseconds=9), HALF_A_CHARACTER[engine.name]),
        ]
        kinds = [event.kind for event in handle.long_read(lambda tx: tx.trace("m1"))]
        assert kinds == ["accepted", "late bounce", "late bounce", "dead", "dead", "dead", "deferred"]
    finally:
        handle.close()


def test_a_trace_from_before_traces_had_first_events_is_shown_and_continued(engine, empty, set_known):
    set_known([step.name for step in known(engine.name)].index("first_events"))
    engine.migrate(empty)
    octets = {"sqlite": "x'6869'", "postgres": "'hi'"}[engine.name]
    engine.execute(empty, *(OLD_MAIL + ";" + OLD_TRACES).format(octets=octets).split(";"))
    set_known(None)
    handle = Handle(engine, empty)
    try:
        before = handle.long_read(lambda tx: tx.trace("m1"))
        assert [event.kind for event in before] == [
            *("accepted", "late bounce", "late bounce", "dead", "dead", "dead", "deferred")
        ]
        assert before[0].at == EPOCH + timedelta(milliseconds=5)
        redriven = a_line("redriven", EPOCH + timedelta(seconds=1), address="y@example.com", because="by command")
        handle.write(lambda tx: tx.add_events("m1", [redriven]))
        assert handle.long_read(lambda tx: tx.trace("m1")) == [*before, redriven]
    finally:
        handle.close()


def test_opening_again_changes_nothing(engine, empty):
    open_and_close(engine, empty)
    before = engine.catalogue(empty)
    open_and_close(engine, empty)
    open_and_close(engine, empty, only_new=True)
    assert engine.catalogue(empty) == before


BROKEN = migrations.Migration(99, "broken", "CREATE TABLE half_done (a TEXT);\nCREATE TABLE instances (a TEXT);\n")


def test_a_failed_migration_is_rolled_back_completely(engine, database, set_known):
    before = engine.catalogue(database)
    set_known(None, BROKEN)
    with pytest.raises(ports.StoreUnavailable):
        open_and_close(engine, database)
    assert engine.catalogue(database) == before
    set_known(None)
    handle = Handle(engine, database)
    handle.write(make_instance)
    handle.close()


def test_migrations_before_a_failed_migration_stay_applied(engine, empty, database, set_known):
    set_known(None, BROKEN)
    with pytest.raises(ports.StoreUnavailable):
        open_and_close(engine, empty)
    assert engine.catalogue(empty) == engine.catalogue(database)
    set_known(None, migrations.Migration(99, "corrected", "CREATE TABLE half_done (a TEXT);\n"))
    open_and_close(engine, empty)
    assert applied(engine, empty)[-1] == (99, "corrected")


def test_an_old_database_is_not_migrated_if_only_a_new_one_may_be_created(engine, database, set_known):
    handle = Handle(engine, database)
    handle.write(make_instance)
    handle.close()
    before = engine.catalogue(database)
    set_known(None, migrations.Migration(99, "further", "CREATE TABLE further (a TEXT);\n"))
    with pytest.raises(migrations.SchemaTooOld, match="has the schema of an older version of Waypost"):
        open_and_close(engine, database, only_new=True)
    assert engine.catalogue(database) == before
    open_and_close(engine, database)
    assert engine.catalogue(database) != before


def test_an_empty_database_gets_the_schema_if_only_a_new_one_may_be_created(engine, empty, database):
    open_and_close(engine, empty, only_new=True)
    assert engine.catalogue(empty) == engine.catalogue(database)


def test_threads_that_open_an_empty_database_at_the_same_time_migrate_it_once(engine, empty, database):
    together = threading.Barrier(4)

    def open_it():
        together.wait(PATIENCE)
        open_and_close(engine, empty)

    with ThreadPoolExecutor(4) as threads:
        outcomes = [threads.submit(open_it) for _ in range(4)]
    assert [outcome.exception() for outcome in outcomes] == [None] * 4
    assert engine.catalogue(empty) == engine.catalogue(database)
    assert [number for number, _ in applied(engine, empty)] == [step.number for step in known(engine.name)]


OPENING = """
import asyncio, sys
from tests.kit.stores.both_stores import ENGINES
from tests.kit.values import NoSeal

async def main():
    given = sys.argv[2]
    if sys.argv[1] == "sqlite":
        from pathlib import Path
        given = Path(given)
    store = ENGINES[sys.argv[1]].open(None, given, NoSeal())
    await store.close()

print("ready", flush=True)
sys.stdin.readline()
asyncio.run(main())
"""


def test_processes_that_open_an_empty_database_at_the_same_time_migrate_it_once(engine, empty, database):
    command = [sys.executable, "-c", OPENING, engine.name, str(empty)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=PATIENCE)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert engine.catalogue(empty) == engine.catalogue(database)


ONLY_IN_SQLITE = {
    "search_ranges_one_each": "SQLite gives each instance a range of numbers; PostgreSQL has the instance in its index",
    "search_ranges_have_an_instance": "SQLite gives each instance a range of numbers",
    "search_ranges_apart": "SQLite gives each instance a range of numbers",
}

REMOVED = {"message_bodies_one_each", "message_bodies_have_a_message"}
"""Constraints of an older schema. Now a body has many pieces, and some pieces are stored before the message exists."""


def constraints(dialect):
    return {name for step in known(dialect) for name in re.findall(r"\bCONSTRAINT (\w+)", step.sql)} - REMOVED


def test_both_schemas_have_the_same_named_constraints():
    assert len(constraints("sqlite")) > 20
    assert constraints("sqlite") - constraints("postgres") == set(ONLY_IN_SQLITE)
    assert constraints("postgres") - constraints("sqlite") == {"mail_words_once_each"}  # an FTS5 table has none


def test_every_constraint_has_a_name_in_the_database(engine, database):
    if engine.name == "sqlite":
        pytest.skip("SQLite stores constraints only as text")
    there = {name for _, name, kind, _ in engine.catalogue(database)["constraints"] if kind != "n"}
    assert there == constraints("postgres") | {"migrations_once"}


@pytest.mark.parametrize("dialect", ENGINES)
def test_every_migration_begins_with_a_comment(dialect):
    for number, step in enumerate(known(dialect), 1):
        assert step.number == number
        assert step.sql.startswith("-- ")


LISTED_IN_PART = {
    "instances": {"alias_key", "deleted_at"},
    "alias_link_ends": {"other_side"},
    "messages": {"first_events"},
    "deliveries": {"bounces", "bounces_of_failure", "given_up_at", "given_up_because"},
    "routes": {"number"},
    "trace_events": {"message_id", "number"},
    "refusals": {"number"},
    "queue": {"message_id", "email_address_id", "account", "destination", "due_at", "warn_at"},
}
"""Columns that are not in the lists, because only single queries name them: keys, numbers for sorting, the columns that
the queue is searched by, and facts about messages and deliveries that few queries need."""


def test_every_column_of_a_table_is_listed_or_a_known_exception(store):
    def columns(tx, table):
        cursor = tx.connection.execute(f"SELECT * FROM {table}")
        cursor.fetchall()
        return {name for name, *_ in cursor.description}

    for table, listed in tables.LISTS.items():
        assert store.long_read(columns, table) - set(listed) == LISTED_IN_PART.get(table, set()), table
