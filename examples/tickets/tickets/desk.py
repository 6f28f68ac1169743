"""Keeps the tickets, in a SQLite database."""

import sqlite3
from contextlib import closing, contextmanager

SCHEMA = """
    CREATE TABLE IF NOT EXISTS tickets (
        number INTEGER PRIMARY KEY, queue TEXT NOT NULL, customer TEXT NOT NULL, subject TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS messages (
        delivery TEXT PRIMARY KEY, ticket INTEGER NOT NULL REFERENCES tickets, text TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS files (
        delivery TEXT NOT NULL REFERENCES messages, name TEXT NOT NULL, content BLOB NOT NULL
    );
"""


class Desk:
    """The tickets in a database, which is made if the file does not exist."""

    def __init__(self, file):
        self._file = file
        with self._transaction() as database:
            database.executescript(SCHEMA)

    def receive(self, received, *, queue, delivery):
        """Store a message of a customer, as a new ticket or as a part of one, and return the ticket's number.

        Return None for a message that a program has sent: a ticket for each out-of-office reply helps nobody.
        `delivery` is the id of the delivery. A delivery that was stored before is not stored again.
        """
        if received.is_automatic:
            return None
        with self._transaction() as database:
            stored = database.execute("SELECT ticket FROM messages WHERE delivery = ?", (delivery,)).fetchone()
            if stored:
                return stored["ticket"]
            number = self._answered(database, received, queue) or self._new(database, received, queue)
            database.execute("INSERT INTO messages VALUES (?, ?, ?)", (delivery, number, received.text))
            files = [(delivery, name, content) for name, content in received.files]
            database.executemany("INSERT INTO files VALUES (?, ?, ?)", files)
            return number

    @staticmethod
    def _answered(database, received, queue):
        """Return the number of the ticket that a message answers. A customer can answer only tickets of their own."""
        found = database.execute(
            "SELECT number FROM tickets WHERE number = ? AND customer = ? AND queue = ?",
            (received.ticket, received.customer, queue),
        ).fetchone()
        return found and found["number"]

    @staticmethod
    def _new(database, received, queue):
        row = (queue, received.customer, received.subject)
        return database.execute("INSERT INTO tickets (queue, customer, subject) VALUES (?, ?, ?)", row).lastrowid

    def tickets(self, queue=None):
        """Return all tickets, or those of a queue, the oldest first."""
        with self._transaction() as database:
            rows = database.execute("SELECT * FROM tickets ORDER BY number").fetchall()
            return [self._ticket(database, row) for row in rows if queue in (None, row["queue"])]

    @staticmethod
    def _ticket(database, row):
        messages = database.execute("SELECT text FROM messages WHERE ticket = ? ORDER BY rowid", (row["number"],))
        files = database.execute(
            "SELECT name, content FROM files JOIN messages USING (delivery) WHERE ticket = ?", (row["number"],)
        )
        return {
            **dict(row),
            "messages": [message["text"] for message in messages],
            "files": [(file["name"], file["content"]) for file in files],
        }

    @contextmanager
    def _transaction(self):
        with closing(sqlite3.connect(self._file)) as database, database:
            database.row_factory = sqlite3.Row
            yield database
