"""Rows for every table of a store, with values that are hard to copy."""

import contextlib
import sqlite3

import psycopg

from tests.kit.stores.both_stores import Handle
from tests.kit.stores.random_directory import build

ODD = "tab\t back\\slash 'quote' \"line\n\r ü 😀 \x01 \\N \ufffd"
OCTETS = bytes(range(256))
LATE = 4_102_444_800_000
"""A time in milliseconds: the year 2100."""

ROWS = {
    "access_keys": [
        (
            *("id", "account", "user_name", "policy", "active", "created_at", "expires_at", "session_token_digest"),
            "sealed_secret",
        ),
        ("AKIA1", "000000000000", "ann", '{"Statement": []}', True, 5, None, None, b"sealed"),
        ("AKIA2", "000000000000", ODD, "{}", False, 5, LATE, OCTETS[:32], OCTETS),
    ],
    "console_links": [("token_digest", "access_key_id", "expires_at"), (b"\xff\x00", "AKIA1", LATE), (b"", "AKIA1", 0)],
    "console_sessions": [
        (
            *("id", "access_key_id", "token_digest", "previous_digest", "token_made_at", "opened_at", "used_at"),
            "expires_at",
        ),
        ("s1", "AKIA1", b"\x00\x01", None, 1, 2, 3, 4),
        ("s2", "AKIA2", b"\x00\x02", b"\x00", 1, 2, 3, LATE),
    ],
    "messages": [
        (
            *("id", "sender", "recipients", "helo", "peer", "protocol", "received_at", "size", "subject", "body"),
            *("tls", "dsn", "authserv_id", "header_id", "is_authentic", "first_events"),
        ),
        *(
            (
                *(f"m{n}", ODD, '["a@b.example"]', "h", "::1", "LMTP", n, 256, ODD, "7BIT"),
                *("T", "{}", "mx", f"<{n}@x>", n % 2 == 0, "[]"),
            )
            for n in range(8)
        ),
        ("empty", "", "[]", "", "", "", 0, 0, "", "8BITMIME", "", "", "", "", False, ""),
    ],
    "message_bodies": [
        ("message_id", "start", "octets"),
        *((f"m{n}", 0, OCTETS) for n in range(7)),
        ("m7", 0, OCTETS[:100]),
        ("m7", 100, OCTETS[100:]),
        ("begun", 0, b""),
    ],
    "messages_begun": [("message_id", "begun_at"), ("begun", LATE)],
    "deliveries": [
        (
            *("message_id", "email_address_id", "account", "address", "address_key", "reason", "sent_to", "via"),
            *("status", "trace_header", "kept", "destination", "also_for", "bounces", "bounces_of_failure"),
            *("given_up_at", "given_up_because"),
        ),
        ("m0", "e1", "0", ODD, "a@b.example", "direct", ODD, None, "delivered", OCTETS, True, "", "", 0, 0, None, ""),
        ("m0", "e2", "0", "A@b", "a@b", "forwarded", "x", "v@x", "queued", b"", False, "smtp://h", "f", 0, 0, None, ""),
        ("m1", "e1", "0", "a@b", "a@b", "direct", "x", None, "dead", b"r\r\n", True, "smtp://h", "", 2, 1, LATE, ODD),
    ],
    "trace_events": [
        ("message_id", "number", "at", "kind", "detail"),
        ("m0", 0, 5, "deferred", '{"because": "\\u0000"}'),
        ("m0", 1, LATE, "late bounce", "{}"),
    ],
    "queue": [
        (
            *("message_id", "email_address_id", "account", "destination", "due_at", "claim", "attempts", "queued_at"),
            *("warn_at", "because"),
        ),
        ("m0", "e2", "0", "smtp://h", LATE, "claim", 3, 5, None, ODD),
    ],
    "planned_deliveries": [("message_id", "number", "part"), ("m2", 0, ODD), ("m2", 1, "[]")],
    "notices_owed": [
        ("message_id", "action", "recipient", "email_address_id", "owed_at", "fate"),
        ("m1", "failed", ODD, "e1", 5, "{}"),
    ],
    "refusals": [
        (
            *("number", "at", "peer", "helo", "sender", "recipient", "recipient_key", "stage", "reply", "detail"),
            "account",
        ),
        (1, 5, "::1", "h", "s", ODD, "r", "rcpt", "550 5.1.1 no", "{}", "000000000000"),
        (7, 5, "::1", "h", "s", "", "", "message", "451", "{}", ""),
    ],
    "routes": [
        (
            *("number", "match", "target", "keep", "tls", "user_name", "sealed_secret", "rewrite_sender"),
            *("allow_private", "connections", "fault", "line_ends"),
        ),
        (0, "*@x.example", "smtp://h", True, "required", ODD, OCTETS, False, True, 5, None, "lf"),
        (1, "*", "maildir:/m", False, "opportunistic", "", b"", True, False, 5, "bounce", "crlf"),
    ],
    "remembered_calls": [
        ("account", "region", "operation", "scope", "token", "fingerprint", "answer", "made_at"),
        ("0", "us-east-1", "CreateEmailAddress", "i", ODD, OCTETS, ODD, 5),
    ],
    "mail_entries": [
        ("number", "account", "message_id", "is_indexed"),
        (1 << 20, "0", "m0", True),
        ((1 << 20) + 1, "", "m2", True),
        (9 << 20, "0", "m1", False),
    ],
    "mail_marks": [("place", "message_id", "at"), ("messages", "m1", None), ("events", "", LATE)],
    "mail_changes": [
        ("number", "account", "message_id", "email_address_id", "kind", "at", "event"),
        (2, "0", "m0", "", "new", 5, -1),
        (3, "0", "m0", "e2", "deferred", 5, 0),
    ],
    "mail_counts": [("account", "minute", "kind", "count"), ("0", 29_000_000, "new", 3)],
    "mail_flows": [("account", "hour", "address", "alias", "destination", "count"), ("0", 483_000, "a@b", "", "", 2)],
}
"""For each table that is not part of the directory: its columns, and rows."""

COUNTED_TO = 12
"""The last number of `mail_changes`, whose row was removed."""


def fill(engine, database, seed=1):
    """Fill a new database with a random directory and with these rows."""
    handle = Handle(engine, database)
    handle.write(build, seed)
    handle.close()
    insert = _insert_sqlite if engine.name == "sqlite" else _insert_postgres
    change = ("mail_changes", ROWS["mail_changes"][0], (COUNTED_TO, "0", "gone", "", "new", 5, -1))
    insert(database, [*((table, rows[0], row) for table, rows in ROWS.items() for row in rows[1:]), change])
    if engine.name == "postgres":
        engine.execute(database, f"SELECT setval('mail_changes_number_seq', {COUNTED_TO})")
    engine.execute(database, f"DELETE FROM mail_changes WHERE number = {COUNTED_TO}")


def _insert_sqlite(database, rows):
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        for table, columns, row in rows:
            places = ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", row)


def _insert_postgres(database, rows):
    with psycopg.connect(database) as connection:
        for table, columns, row in rows:
            places = ", ".join(["%s"] * len(row))
            names = ", ".join(columns)
            connection.execute(f"INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE VALUES ({places})", row)


def rows_of(engine, database):
    """Return the rows of each table without their order, in a form that both databases have: a Boolean is a number.

    Of the numbers of search entries, only the order counts. The words in the index of mail are left out.
    """
    if engine.name == "sqlite":
        with contextlib.closing(sqlite3.connect(database)) as connection:
            return _read(connection, "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql LIKE '%STRICT%'")
    with psycopg.connect(database) as connection:
        return _read(connection, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")


_LEFT_OUT = {"migrations", "migration_versions", "search_ranges", "mail_words"}
_COLUMNS_LEFT_OUT = {("tags", "number"), ("mail_entries", "is_indexed")} | {
    ("search_entries", column)
    for column in ("number", "range", "trigrams", "address_start", "display_name_start", "description_start")
}


def _read(connection, tables):
    found = {}
    for (table,) in connection.execute(tables).fetchall():
        if table in _LEFT_OUT:
            continue
        cursor = connection.execute(f"SELECT * FROM {table}")
        names = [column[0] for column in cursor.description]
        rows = [
            {
                name: int(value) if isinstance(value, bool) else value
                for name, value in zip(names, row, strict=True)
                if (table, name) not in _COLUMNS_LEFT_OUT
            }
            for row in cursor.fetchall()
        ]
        if table == "deployment_marks":
            rows = [row for row in rows if not row["name"].startswith("held: ")]
        found[table] = sorted(map(sorted_items, rows))
    instance = "instance_id" if "trigrams" in _columns(connection) else "range"
    order = f"SELECT {instance}, email_address_id FROM search_entries ORDER BY {instance}, number"
    by_instance = {}
    for key, email_address_id in connection.execute(order).fetchall():
        by_instance.setdefault(key, []).append(email_address_id)
    found["search_entries in their order"] = sorted(by_instance.values())
    for rows in found["search_entries"]:
        rows[:] = [(name, value) for name, value in rows if name != "instance_id"]  # SQLite has a range instead
    return found


def sorted_items(row):
    return sorted(((name, repr(value)) for name, value in row.items()))


def _columns(connection):
    return [column[0] for column in connection.execute("SELECT * FROM search_entries LIMIT 0").description]
