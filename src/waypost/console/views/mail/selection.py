"""What a list of mail shows. It is in the URL of the page, so that people can share the page and reload it."""

import re
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlencode

from msgspec import Struct
from msgspec.structs import replace

from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.domain.mail.delivery import Reason, Status
from waypost.domain.mail.mail_filter import MailFilter

REFUSED, WAITING, DEAD = "refused", "waiting", "dead"

KINDS = {
    "": "All mail",
    "direct": "Direct",
    "forwarded": "Forwarded",
    "notice": "Notices",
    REFUSED: "Refused",
    WAITING: "Waiting",
    DEAD: "Dead letters",
}
"""The labels of the kinds of mail that a list can show, by the value of `is` in the URL."""

_REASONS = {"direct": Reason.DIRECT, "forwarded": Reason.FORWARDED, "notice": Reason.NOTICE}
_STATUSES: dict[str, Literal[Status.QUEUED, Status.DEAD]] = {WAITING: Status.QUEUED, DEAD: Status.DEAD}
_CURSOR = re.compile(r"[0-9a-f.-]{1,80}")
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SEARCH_LIMIT = 1_001
"""One more than the longest query, so that a longer one is refused and not cut."""


class Selection(Struct, frozen=True, kw_only=True):
    """What a list of mail shows."""

    kind: str = ""
    """A key of `KINDS`."""
    address: addresses.Address | None = None
    """The email address whose mail is shown; None for all email addresses."""
    search: str = ""
    """The text of the search box; empty if the list is not the result of a search."""
    after: str | None = None
    """The cursor after which the page begins; None for the first page."""

    @property
    def label(self) -> str:
        """The heading of the list."""
        if self.search:
            return f"Search: {self.search}"
        return f"{KINDS[self.kind]}: {self.address}" if self.address else KINDS[self.kind]

    @property
    def filters(self) -> MailFilter:
        """The filter of the store."""
        return MailFilter(
            reason=_REASONS.get(self.kind),
            status=_STATUSES.get(self.kind),
            address_key=self.address.key if self.address else "",
        )

    @property
    def is_live(self) -> bool:
        """Whether new mail can appear at the top of the list while it is shown."""
        return not (self.search or self.after or self.kind == REFUSED)

    @property
    def query(self) -> str:
        """The part of the URL that selects this list, with its question mark; empty for all mail."""
        given = {
            "is": self.kind,
            "address": self.address.text if self.address else "",
            "q": self.search,
            "after": self.after or "",
        }
        present = {name: value for name, value in given.items() if value}
        return f"?{urlencode(present)}" if present else ""

    def of_kind(self, kind: str) -> "Selection":
        """Return the first page of mail of another kind for the same email address."""
        return Selection(kind=kind, address=None if kind == REFUSED else self.address)

    def of_address(self, text: str) -> "Selection":
        """Return the first page of all mail for an email address."""
        return Selection(address=addresses.parse(text))

    def next(self, after: str) -> "Selection":
        """Return the page that begins after a cursor."""
        return replace(self, after=after)


def selected(query: Mapping[str, str]) -> Selection:
    """Return what the parameters of a URL select. Raises `errors.Invalid`."""
    kind, address, after = query.get("is", ""), query.get("address", ""), query.get("after", "")
    if kind not in KINDS:
        raise errors.Invalid(f"`is` must be {', '.join(filter(None, KINDS))}, not {kind[:80]!a}.")
    if after and not _CURSOR.fullmatch(after):
        raise errors.Invalid("`after` must be from the link to older mail.")
    return Selection(
        kind=kind,
        address=addresses.parse_typed(address) if address else None,
        search=_printable(query.get("q", "")[:_SEARCH_LIMIT]),
        after=after or None,
    )


def id_in(path: Mapping[str, str]) -> str:
    """Return the id of the message in the path of a URL. Raises `errors.NotFound` if it is not an id."""
    found = path["id"]
    if not _ID.fullmatch(found):
        raise errors.NotFound(f"{found[:80]!a} is not the id of a message.")
    return found


def _printable(text: str) -> str:
    """Return text with one space instead of characters that cannot be printed."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())
