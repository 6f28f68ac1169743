"""A transaction's queries for the text index, by which mail is searched."""

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from waypost.app import ports
from waypost.domain.mail.delivery import Reason, Status
from waypost.domain.mail.mail_filter import MailFilter
from waypost.domain.mail.mail_search import Phrase
from waypost.store.common import rows
from waypost.store.common.statements import Statements
from waypost.store.common.transaction.mailbox import of_times
from waypost.store.sql import kinds

SERIAL_BITS = 20
"""The number of low bits in the number of an entry that distinguish the messages of one millisecond."""

FEW = 500
"""The maximum number of entries that are compared with the words of a search one by one."""

_LAST = 2**63 - 1


class MailIndexQueries(Statements):
    """The part of `Transaction` that searches mail. The methods are documented in `app/ports/mail_index.py`."""

    def search_mail(
        self, account: str, phrases: Sequence[Phrase], filters: MailFilter, *, after: int | None, limit: int
    ) -> list[ports.Hit]:
        since, before = of_times(filters)
        newest = min(_LAST if after is None else after, _LAST if before is None else before << SERIAL_BITS)
        oldest = 0 if since is None else since << SERIAL_BITS
        given = (account, self._match(account, phrases), newest, oldest, filters.reason, filters.status)
        numbers = self._few(account, filters)
        found = (
            self._search_words(*given, limit)
            if numbers is None
            else self._all("search_few", *given, limit, self._list_of(list(map(str, numbers))))
        )
        return [ports.Hit(row[-1], *rows.delivery_and_message(row)) for row in found]

    def _few(self, account: str, filters: MailFilter) -> list[int] | None:
        """Return the entries that meet the reason or status of a filter, if they are few. Then only these are compared
        with the words. Otherwise a search for a frequent word would compare all of its messages with the filter.
        """
        of_page = (account, FEW + 1)
        match filters:
            case MailFilter(status=Status.DEAD):
                found = self._all("numbers_of_dead", *of_page)
            case MailFilter(status=Status.QUEUED):
                found = self._all("numbers_of_waiting", *of_page)
            case MailFilter(reason=Reason() as reason):
                found = self._all("numbers_of_reason", *of_page, reason)
            case _:
                return None
        return sorted({number for (number,) in found if number is not None}) if len(found) <= FEW else None

    def not_indexed(self, *, limit: int) -> list[ports.NotIndexed]:
        return [ports.NotIndexed(row[-2], row[-1], rows.message(row)) for row in self._all("not_indexed", limit)]

    def oldest_not_indexed(self) -> datetime | None:
        ((number,),) = self._all("oldest_not_indexed")
        return None if number is None else kinds.from_milliseconds(number >> SERIAL_BITS)

    def add_to_index(self, entries: Sequence[ports.MailEntry]) -> None:
        for entry in entries:
            if self._all("mark_indexed", entry.number):
                self._add_words(entry)

    def remove_from_index(self, message_ids: Sequence[str]) -> None:
        numbers = self._all("remove_entries_without_delivery", self._list_of(message_ids))
        self._run_each("remove_mail_words", [(row[0],) for row in numbers])

    def _search_words(self, *given: Any) -> list[Any]:
        """Return the rows of a search among all entries. The arguments are the parameters of `search_mail`."""
        return self._all("search_mail", *given)

    @abstractmethod
    def _match(self, account: str, phrases: Sequence[Phrase]) -> str:
        """Return the full-text query for the messages of an account in which all phrases occur."""

    @abstractmethod
    def _add_words(self, entry: ports.MailEntry) -> None:
        """Add the words of an entry to the index."""
