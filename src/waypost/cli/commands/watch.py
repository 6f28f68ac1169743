"""`waypost watch` shows mail as it moves, in a table on a terminal, or as lines elsewhere."""

import os
import shutil
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import partial

import click

from waypost.app import inspection_schema as schema
from waypost.cli import table
from waypost.cli.client import DEFAULT_DATA, Client, Data, NoServer
from waypost.cli.table import Column
from waypost.client import changes
from waypost.client.changes import Change
from waypost.client.text import plain
from waypost.host.data_directory import NotRunning

ROWS = 500
"""The maximum number of messages that are remembered. The status of older messages is not updated."""

FILLED = 200
"""The number of deliveries that the table shows at the beginning, if there are so many."""

REFRESH_EVERY = 0.25
"""The minimum time between two drawings of the table, in seconds."""

SIZE_EVERY = 1.0
"""How often the size of the terminal is checked, in seconds."""

_HEIGHT = 4
"""The lines of the screen that show no message: the header, the rule, the note, and the line of the cursor."""

_STYLES: dict[str, dict[str, object]] = {
    "delivered": {"fg": "green"},
    "queued": {"fg": "yellow"},
    "dead": {"fg": "red"},
    "deleted": {"dim": True},
}

_COLUMNS = (Column("Time (UTC)"), Column("From", 3), Column("To", 5), Column("Subject", 4), Column("Status"))

_BEGIN, _END = "\x1b[?25l\x1b[2J", "\x1b[?25h"
"""The control sequences that hide the cursor and clear the screen, and that show the cursor again."""


class Row:
    """What is known about one message. One thread may read it while another one updates it."""

    def __init__(self, first: schema.DeliveryInList) -> None:
        self._deliveries: dict[str, schema.DeliveryInList] = {}
        self.message_id = first["id"]
        self.received_at = first["received_at"]
        self.sender = plain(f"<{first['from']}>")
        self.subject = plain(first["subject"] or "(no subject)")

    def put(self, delivery: schema.DeliveryInList) -> None:
        """Add a delivery of the message, or update its status."""
        self._deliveries[delivery["delivery"]] = delivery

    def mark_deleted(self, delivery_id: str) -> None:
        """Change the status of a delivery to deleted."""
        if delivery := self._deliveries.get(delivery_id):
            self._deliveries[delivery_id] = {**delivery, "status": "deleted"}

    @property
    def recipients(self) -> str:
        """The recipients that the sender gave, each followed by the primary to which an alias forwarded the mail."""
        to: dict[str, str] = {}
        for delivery in tuple(self._deliveries.values()):
            primary = f" -> {delivery['address']}" if delivery["via"] else ""
            to[delivery["to"]] = to.get(delivery["to"], "") + primary
        return plain(", ".join(f"{recipient}{primary}" for recipient, primary in to.items()))

    @property
    def statuses(self) -> list[str]:
        """The different statuses of the deliveries."""
        return list(dict.fromkeys(plain(delivery["status"]) for delivery in tuple(self._deliveries.values())))

    @property
    def line(self) -> str:
        """The row as one line of text."""
        status = ", ".join(self.statuses)
        return f"{self.message_id}  {status}  {self.sender} to {self.recipients}: {self.subject}"


class Watched:
    """The messages that are shown, each with its latest status."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}
        self.note = ""
        """A sentence about the connection."""

    def put(self, deliveries: Iterable[schema.DeliveryInList]) -> Row | None:
        """Add deliveries of one message, or update their statuses. Return the row if it looks different now."""
        before, row = None, None
        for delivery in deliveries:
            if row is None:
                row = self._rows.setdefault(delivery["id"], Row(delivery))
                before = row.line
            row.put(delivery)
        while len(self._rows) > ROWS:
            del self._rows[min(self._rows)]
        return row if row and row.line != before else None

    def apply(self, change: Change) -> Row | None:
        """Update the message that has changed, and return its row if it looks different now."""
        row = self._rows.get(change.message_id)
        if change.kind != "deleted" or change.delivery_id is None:
            return self.put(change.deliveries)
        if row is None:
            return None
        before = row.line
        row.mark_deleted(change.delivery_id)
        return row if row.line != before else None

    def newest(self, count: int) -> list[Row]:
        """Return the newest messages, the newest first. The ids of messages sort by time."""
        rows = dict(self._rows)  # another thread may add a row
        return [rows[message_id] for message_id in sorted(rows, reverse=True)[:count]]


def watch(data: Data = DEFAULT_DATA) -> None:
    """Show the mail of the account as it arrives and is delivered, until Ctrl-C.

    On a terminal, the command shows a table. Otherwise it prints a line for each new message and each new status.
    """
    with suppress(KeyboardInterrupt):
        if sys.stdout.isatty():
            _show_table(data)
        else:
            _print_lines(data)


def _print_lines(data: str) -> None:
    watched = Watched()
    for change in changes.follow(partial(Client, data), note=partial(click.echo, err=True)):
        if row := watched.apply(change):
            click.echo(f"{change.at}  {row.line}")


def _show_table(data: str) -> None:
    watched = Watched()
    changed = threading.Event()
    changed.set()

    def note(sentence: str) -> None:
        watched.note = sentence
        changed.set()

    def draw() -> None:
        size = shutil.get_terminal_size()
        while True:
            if changed.wait(SIZE_EVERY) or shutil.get_terminal_size() != size:
                changed.clear()
                size = shutil.get_terminal_size()
                click.echo(_screen(watched, size), nl=False)
                time.sleep(REFRESH_EVERY)

    click.echo(_BEGIN, nl=False)
    try:
        threading.Thread(target=draw, daemon=True).start()
        for change in changes.follow(partial(Client, data), note=note, ready=lambda: _fill(watched, data)):
            watched.apply(change)
            changed.set()
    finally:
        click.echo(_END, nl=False)


def _fill(watched: Watched, data: str) -> None:
    """Add the newest messages that are there already, with their present statuses."""
    with suppress(NoServer, NotRunning):  # after the next connection, this function is called again
        found: schema.Messages = Client(data).get("messages", limit=FILLED)
        for delivery in found["messages"]:
            watched.put([delivery])


def _screen(watched: Watched, size: os.terminal_size) -> str:
    """Return what to write to a terminal of this size, so that it shows the newest messages."""
    rows = [_cells(row) for row in watched.newest(max(1, size.lines - _HEIGHT))]
    shown = [
        *table.lines(_COLUMNS, rows, width=size.columns),
        click.style(table.cut(watched.note, size.columns), dim=True),
    ]
    return "\x1b[H" + "".join(f"{line}\x1b[K\n" for line in shown) + "\x1b[J"


def _cells(row: Row) -> list[table.Cell]:
    texts = (plain(row.received_at[11:19]), row.sender, row.recipients, row.subject)
    statuses = [part for status in row.statuses for part in ((", ", {}), (status, _STYLES.get(status, {})))]
    return [*([(text, {})] for text in texts), statuses[1:]]
