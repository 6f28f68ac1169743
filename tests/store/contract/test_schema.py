"""The schema of both stores: it comes to be step by step, once, and is the same however it came to be."""

import asyncio
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from tests.kit.patience import PATIENCE
from tests.kit.stores.both_stores import ENGINES, Handle
from tests.kit.stores.calls import check_invariants, create, describe, ids
from tests.kit.values import NoSeal, a_line, make_instance
from waypost.app import ports
from waypost.domain.directory.aliases import AliasLink
from waypost.store import migrations
from waypost.store.sql import tables

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

known = migrations.known


def opened(engine, database, **options):
    """Open a database and close it again."""

    async def main():
        store = engine.open(database, NoSeal(), **options)
        await store.close()

    asyncio.run(main())


@pytest.fixture
def knowing(engine, monkeypatch):
    """Let the program know as many migrations as an older one did, or more than there are."""

    def now_knows(steps, *more):
        monkeypatch.setattr(migrations, "known", lambda dialect: [*known(dialect)[:steps], *more])

    return now_knows


def applied(engine, database):
    handle = Handle(engine, database)
    found = handle.rows("SELECT number, name FROM migrations ORDER BY number")
    handle.close()
    return found


ROWS_OF_THE_FIRST = """
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
WORDS = {
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


def test_a_schema_that_came_step_by_step_is_that_of_a_new_database_and_keeps_what_is_in_it(
    engine, empty, database, knowing
):
    for steps in range(1, len(known(engine.name)) + 1):
        knowing(steps)
        engine.migrate(empty)
        if steps == 1:
            engine.execute(empty, *ROWS_OF_THE_FIRST.format(**WORDS[engine.name]).split(";"))
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


MAIL_OF_BEFORE = """
INSERT INTO messages (id, sender, recipients, helo, peer, protocol, received_at, size, subject)
VALUES ('m1', 'ann@example.org', '["x@example.com"]', 'client', '192.0.2.1', 'ESMTP', 5, 2, 'Hello');
INSERT INTO message_bodies (message_id, start, octets) VALUES ('m1', 0, {octets});
INSERT INTO deliveries (message_id, email_address_id, account, address, address_key, reason, sent_to, via, status,
                        trace_header)
VALUES ('m1', 'x', '000000000000', 'X@example.com', 'x@example.com', 'direct', 'x@example.com', NULL, 'delivered',
        {octets});
INSERT INTO trace_events (message_id, number, at, kind, detail) VALUES ('m1', 0, 5, 'accepted', '{{}}')
"""


def test_mail_that_came_before_there_was_a_queue_is_in_its_inbox_and_waits_for_nothing(engine, empty, knowing):
    knowing([step.name for step in known(engine.name)].index("delivery"))
    engine.migrate(empty)
    octets = {"sqlite": "x'6869'", "postgres": "'hi'"}[engine.name]
    engine.execute(empty, *MAIL_OF_BEFORE.format(octets=octets).split(";"))
    knowing(None)
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


FACTS_IN_TRACES = """
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
"""SQLite has no regular expressions to replace it by, so that the reason is left out there."""


def test_what_rules_need_of_the_traces_of_before_is_in_the_deliveries(engine, empty, knowing):
    knowing([step.name for step in known(engine.name)].index("facts_of_deliveries"))
    engine.migrate(empty)
    octets = {"sqlite": "x'6869'", "postgres": "'hi'"}[engine.name]
    engine.execute(empty, *(MAIL_OF_BEFORE + ";" + FACTS_IN_TRACES).format(octets=octets).split(";"))
    knowing(None)
    handle = Handle(engine, empty)
    try:
        told = {one.address.text: one for one in handle.long_read(lambda tx: tx.all_deliveries_of("m1"))}
        bounced = told["X@example.com"]
        assert handle.read(lambda tx: tx.count_bounces(bounced)) == 2
        assert handle.write(lambda tx: tx.add_bounce(bounced, says_failed=True)) == 2
        listed = handle.long_read(
            lambda tx: tx.dead_letters("000000000000", address_key=None, since=None, after="", limit=9)
        )
        assert [(letter.delivery, letter.given_up_at, letter.because) for letter in listed] == [
            (told["y@example.com"], EPOCH + timedelta(milliseconds=9), "no, \U0001f600 \\ user \u062e\u06cc"),
            (told["z@example.com"], EPOCH + timedelta(milliseconds=9), HALF_A_CHARACTER[engine.name]),
        ]
        kinds = [event.kind for event in handle.long_read(lambda tx: tx.trace("m1"))]
        assert kinds == ["accepted", "late bounce", "late bounce", "dead", "dead", "dead", "deferred"]
    finally:
        handle.close()


def test_opening_again_changes_nothing(engine, empty):
    opened(engine, empty)
    before = engine.catalogue(empty)
    opened(engine, empty)
    opened(engine, empty, only_new=True)
    assert engine.catalogue(empty) == before


def test_a_database_of_a_newer_version_is_refused_with_a_sentence(engine, database):
    engine.execute(database, "INSERT INTO migrations VALUES (9999, 'from_the_future', CURRENT_TIMESTAMP)")
    for options in ({}, {"only_new": True}):
        with pytest.raises(migrations.SchemaTooNew, match=r"has schema 9999, and this Waypost knows schemas up to \d+"):
            opened(engine, database, **options)


BROKEN = migrations.Migration(99, "broken", "CREATE TABLE half_done (a TEXT);\nCREATE TABLE instances (a TEXT);\n")


def test_a_migration_that_fails_leaves_nothing_behind(engine, database, knowing):
    before = engine.catalogue(database)
    knowing(None, BROKEN)
    with pytest.raises(ports.StoreUnavailable):
        opened(engine, database)
    assert engine.catalogue(database) == before
    knowing(None)
    handle = Handle(engine, database)
    handle.write(make_instance)
    handle.close()


def test_the_migrations_before_one_that_fails_stay(engine, empty, database, knowing):
    knowing(None, BROKEN)
    with pytest.raises(ports.StoreUnavailable):
        opened(engine, empty)
    assert engine.catalogue(empty) == engine.catalogue(database)
    knowing(None, migrations.Migration(99, "mended", "CREATE TABLE half_done (a TEXT);\n"))
    opened(engine, empty)
    assert applied(engine, empty)[-1] == (99, "mended")


def test_an_old_database_is_left_alone_where_only_a_new_one_may_be_made(engine, database, knowing):
    handle = Handle(engine, database)
    handle.write(make_instance)
    handle.close()
    before = engine.catalogue(database)
    knowing(None, migrations.Migration(99, "further", "CREATE TABLE further (a TEXT);\n"))
    with pytest.raises(migrations.SchemaTooOld, match="has the schema of an older Waypost"):
        opened(engine, database, only_new=True)
    assert engine.catalogue(database) == before
    opened(engine, database)
    assert engine.catalogue(database) != before


def test_an_empty_database_is_made_where_only_a_new_one_may_be(engine, empty, database):
    opened(engine, empty, only_new=True)
    assert engine.catalogue(empty) == engine.catalogue(database)


def test_threads_that_open_an_empty_database_at_once_migrate_it_once(engine, empty, database):
    together = threading.Barrier(4)

    def open_it():
        together.wait(PATIENCE)
        opened(engine, empty)

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
    opened = ENGINES[sys.argv[1]].open(None, given, NoSeal())
    await opened.close()

print("ready", flush=True)
sys.stdin.readline()
asyncio.run(main())
"""


def test_processes_that_open_an_empty_database_at_once_migrate_it_once(engine, empty, database):
    command = [sys.executable, "-c", OPENING, engine.name, str(empty)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    told = [process.communicate(timeout=PATIENCE)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told
    assert engine.catalogue(empty) == engine.catalogue(database)


CONSTRAINTS_OF_ONE = {
    "search_ranges_one_each": "SQLite gives each instance a range of numbers; PostgreSQL has the instance in its index",
    "search_ranges_have_an_instance": "likewise",
    "search_ranges_apart": "likewise",
}

NO_MORE = {"message_bodies_one_each", "message_bodies_have_a_message"}
"""Constraints of an older schema: a body has many pieces now, and some of them before there is a message."""


def constraints(dialect):
    return {name for step in known(dialect) for name in re.findall(r"\bCONSTRAINT (\w+)", step.sql)} - NO_MORE


def test_both_schemas_have_the_same_named_constraints():
    assert len(constraints("sqlite")) > 20
    assert constraints("sqlite") ^ constraints("postgres") == set(CONSTRAINTS_OF_ONE)


def test_every_constraint_has_a_name_in_the_database(engine, database):
    if engine.name == "sqlite":
        pytest.skip("SQLite knows its constraints as text alone")
    there = {name for _, name, kind, _ in engine.catalogue(database)["constraints"] if kind != "n"}
    assert there == constraints("postgres") | {"migrations_once"}


@pytest.mark.parametrize("dialect", ENGINES)
def test_every_migration_says_why_it_is_there(dialect):
    for number, step in enumerate(known(dialect), 1):
        assert step.number == number
        assert step.sql.startswith("-- ")


LISTED_IN_PART = {
    "instances": {"alias_key"},
    "alias_link_ends": {"other_side"},
    "deliveries": {"bounces", "bounces_of_failure", "given_up_at", "given_up_because"},
    "routes": {"number"},
    "trace_events": {"message_id", "number"},
    "refusals": {"number"},
    "queue": {"message_id", "email_address_id", "account", "destination", "due_at", "warn_at"},
}
"""Columns that queries name themselves: keys, numbers for an order, what the queue is found by, and what few ask of a
delivery."""


def test_every_column_of_a_table_is_listed(store):
    def columns(tx, table):
        cursor = tx.connection.execute(f"SELECT * FROM {table}")
        cursor.fetchall()
        return {name for name, *_ in cursor.description}

    for table, listed in tables.LISTS.items():
        assert store.long_read(columns, table) - set(listed) == LISTED_IN_PART.get(table, set()), table
