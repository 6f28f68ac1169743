"""Waits for mail without polling: the server's stream of changes says when something has happened."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice

from waypost.client import clock
from waypost.client.event_stream import EventReader
from waypost.client.http import Connection, NoServer, NotThere
from waypost.testing.mail import Mail, mail_of

Pattern = str | re.Pattern[str]
"""A string that must be equal, or a compiled regular expression that must match somewhere."""

PAGE = 500
"""The number of deliveries that are read at a time."""

SHOWN = 20
"""The maximum number of deliveries, and of refusals, that an error message or the report of a test lists."""

_ADDRESSES = frozenset({"address", "to", "sender", "via"})
_CONTENT = frozenset({"text", "html"})


class NoSuchMail(AssertionError):
    """The expected mail did not arrive in time. The message says what did arrive, and what was refused."""


@dataclass(frozen=True)
class Wanted:
    """The mail that a test waits for."""

    predicate: Callable[[Mail], bool] | None
    members: Mapping[str, Pattern]
    """The expected values of attributes of `Mail`."""

    def matches(self, mail: Mail) -> bool:
        """Return whether mail is what the test waits for.

        If the content is asked for, and no inbox has kept it, or it was deleted meanwhile, the mail does not match.
        """
        # The content is read last, because each look at it needs a request.
        ordered = sorted(self.members, key=_CONTENT.__contains__)
        try:
            return all(_fits(name, self.members[name], getattr(mail, name)) for name in ordered) and (
                self.predicate is None or bool(self.predicate(mail))
            )
        except NotThere:
            return False

    def __str__(self) -> str:
        named = [f"{name}={_shown(value)}" for name, value in self.members.items()]
        if self.predicate:
            code = getattr(self.predicate, "__code__", None)
            name = getattr(self.predicate, "__qualname__", repr(self.predicate))
            named.append(f"predicate {name}" + (f" ({code.co_filename}:{code.co_firstlineno})" if code else ""))
        return ", ".join(named)


def _fits(name: str, wanted: Pattern, found: str | None) -> bool:
    if found is None:
        return False
    if isinstance(wanted, re.Pattern):
        return bool(wanted.search(found))
    if name in _CONTENT:
        return wanted in found
    return found.casefold() == wanted.casefold() if name in _ADDRESSES else found == wanted


def _shown(value: Pattern) -> str:
    return f"/{value.pattern}/" if isinstance(value, re.Pattern) else repr(str(value))


def listed(connection: Connection, **query: str | None) -> list[Mail]:
    """Return deliveries, the oldest first."""
    found: list[Mail] = []
    after = None
    while True:
        page = connection.get("messages", limit=PAGE, after=after, **query)["messages"]
        found += [mail_of(connection, each) for each in page]
        if len(page) < PAGE:
            return found[::-1]
        after = page[-1]["id" if "address" in query else "delivery"]


def wait_for(connection: Connection, wanted: Wanted, *, timeout: float) -> Mail:
    """Return the oldest mail that a test waits for, as soon as it is there. Raises `NoSuchMail` after `timeout`
    seconds, and `NoServer` if the server has ended.
    """
    deadline = clock.monotonic() + timeout
    for found in _mail_until(connection, deadline):
        for mail in found:
            if wanted.matches(mail):
                return mail
    raise NoSuchMail(f"No mail with {wanted} arrived within {timeout:g} s. {_report(connection, wanted)}")


def _mail_until(connection: Connection, deadline: float) -> Iterator[Sequence[Mail]]:
    """Yield all mail, and then what changes, until a time of `clock.monotonic`."""
    yield listed(connection)
    while clock.monotonic() < deadline:
        reader = EventReader()
        with closing(connection.stream_until("events", deadline)) as parts:
            for part in parts:
                for event in reader.receive(part):
                    if event.name == "change":
                        yield [mail_of(connection, each) for each in json.loads(event.data)["deliveries"]]
                    else:  # the stream begins now, or has lost changes
                        yield listed(connection)
    yield listed(connection)


def _report(connection: Connection, wanted: Wanted) -> str:
    """Say what has arrived, and what was refused."""
    arrived = listed(connection)
    refused = connection.get("refusals", limit=PAGE)["refusals"]
    count = _count(len(arrived), "delivery", "deliveries")
    lines = [f"{count} arrived{':' if arrived else ''}", *_last(map(line_of, arrived), len(arrived))]
    lines += _advice(arrived, wanted.members.get("to"))
    if refused:
        lines.append(f"{_count(len(refused), 'recipient or message was', 'recipients or messages were')} refused:")
        lines += _last(
            (f"from <{each['from']}> to <{each['to']}>: {each['reply']}" for each in reversed(refused)), len(refused)
        )
    return "\n".join(lines)


def _advice(arrived: Iterable[Mail], to: Pattern | None) -> Iterator[str]:
    """Say how to find mail in an inbox, if a test waits for forwarded mail by its recipient."""
    forwarded = next(
        (mail for mail in arrived if mail.via and isinstance(to, str) and _fits("to", to, mail.address)), None
    )
    if forwarded:
        yield f"Mail at {forwarded.address} was sent to {forwarded.to}. Wait for it with address='{forwarded.address}'."


def _count(number: int, one: str, many: str) -> str:
    return f"{number or 'No'} {one if number == 1 else many}"


def _last(lines: Iterable[str], count: int) -> list[str]:
    found = [f"  {line}" for line in islice(lines, max(0, count - SHOWN), None)]
    return [f"  … {count - SHOWN} earlier", *found] if count > SHOWN else found


def line_of(mail: Mail) -> str:
    """Describe mail in a line."""
    through = f" through {mail.via}" if mail.via else ""
    return f"{mail.subject!r} from <{mail.sender}> at {mail.address}: {mail.reason}{through}, {mail.status}"


def is_alive(connection: Connection) -> bool:
    """Return whether the server answers."""
    with suppress(NoServer):
        connection.get("health")
        return True
    return False
