"""A transaction's queries for the text index, by which mail is searched."""

from abc import abstractmethod
from collections.abc import Sequence

from waypost.app import ports
from waypost.domain.mail.mail_filter import MailFilter
from waypost.domain.mail.mail_search import Phrase
from waypost.domain.mail.messages import Message
from waypost.store.common import rows
from waypost.store.common.statements import Statements
from waypost.store.common.transaction.mailbox import of_times
from waypost.store.sql import kinds

_SERIAL_BITS = 20
"""The number of low bits in the number of an entry that distinguish the messages of one millisecond."""

_LAST = 2**63 - 1


class MailIndexQueries(Statements):
    """The part of `Transaction` that searches mail. The methods are documented in `app/ports/mail_index.py`."""

    def search_mail(
        self, account: str, phrases: Sequence[Phrase], filters: MailFilter, *, after: int | None, limit: int
    ) -> list[ports.Hit]:
        since, before = of_times(filters)
        newest = min(_LAST if after is None else after, _LAST if before is None else before << _SERIAL_BITS)
        oldest = 0 if since is None else since << _SERIAL_BITS
        match = self._match(account, phrases)
        found = self._all("search_mail", account, match, newest, oldest, filters.reason, filters.status, limit)
        return [ports.Hit(row[-1], *rows.delivery_and_message(row)) for row in found]

    def index_mark(self) -> ports.IndexMark:
        row = self._one("index_mark")
        if row is None:
            return ports.IndexMark("", None)
        return ports.IndexMark(row[0], None if row[1] is None else kinds.from_milliseconds(row[1]))

    def not_indexed(self, *, after: str, until: str, limit: int) -> list[Message]:
        return [rows.message(row) for row in self._all("not_indexed", after, until, limit)]

    def id_beyond(self, after: str, *, count: int) -> str:
        row = self._one("id_beyond", after, count - 1)
        return str(row[0]) if row else ""

    def recipients_in(self, message_ids: Sequence[str]) -> list[tuple[str, str, str]]:
        return [(row[0], row[1], row[2]) for row in self._all("recipients_in", self._list_of(message_ids))]

    def add_to_index(self, entries: Sequence[ports.MailEntry]) -> None:
        self._run("keep_messages", self._list_of(sorted({entry.message_id for entry in entries})))
        for entry in entries:
            first = kinds.to_milliseconds(entry.received_at) << _SERIAL_BITS
            last = first + (1 << _SERIAL_BITS) - 1
            row = self._one("add_mail_entry", entry.account, entry.message_id, first, last)
            if row and entry.account:
                self._add_words(row[0], entry)

    def put_index_mark(self, mark: ports.IndexMark) -> None:
        at = None if mark.received_at is None else kinds.to_milliseconds(mark.received_at)
        self._run("put_index_mark", mark.message_id, at)

    def _remove_from_index(self, message_ids: Sequence[str]) -> None:
        """Remove the entries of those messages that an account has no delivery of any more."""
        given = self._list_of(message_ids)
        self._run("remove_words_without_delivery", given)
        self._run("remove_entries_without_delivery", given)

    @abstractmethod
    def _match(self, account: str, phrases: Sequence[Phrase]) -> str:
        """Return the full-text query for the messages of an account in which all phrases occur."""

    @abstractmethod
    def _add_words(self, number: int, entry: ports.MailEntry) -> None:
        """Add the words of an entry to the index."""
