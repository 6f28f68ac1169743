"""The list of the mail servers that are measured, with the reasons for those that are missing."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from peers import exim, haraka, opensmtpd, peer, postfix, postgresql, python_servers, sinks, waypost
from peers.sinks import NextHops


@dataclass(frozen=True, slots=True)
class Entry:
    """A mail server that may be measured."""

    name: str
    why_not: str | None
    """The reason why it cannot be measured on this machine."""
    start: Callable[[Path, NextHops | None], AbstractContextManager[peer.MailPeer]]
    """Runs the server with its data in a directory, which the function creates."""


def entries(workers: Sequence[int]) -> list[Entry]:
    """Return all mail servers; Waypost on each store with each number of worker processes."""
    no_sink = sinks.why_not()
    return [
        *(_waypost(count) for count in workers),
        *(_waypost_on_postgresql(count) for count in workers),
        Entry("Postfix", postfix.why_not(), postfix.running),
        Entry("Exim", exim.why_not(), lambda _, hops: exim.running(hops)),
        Entry("OpenSMTPD", opensmtpd.why_not(), lambda _, hops: opensmtpd.running(hops)),
        Entry("Haraka", haraka.why_not(), haraka.running),
        Entry("aiosmtpd, null handler", None, lambda directory, _: python_servers.aiosmtpd(directory)),
        Entry("asyncio, bare protocol", None, lambda directory, _: python_servers.asyncio(directory)),
        Entry("asyncio and smtplib", no_sink, python_servers.smtplib),
        Entry("smtp-sink, in C", no_sink, lambda directory, _: sinks.smtp_sink(directory)),
    ]


def _waypost(workers: int) -> Entry:
    def start(directory: Path, hops: NextHops | None) -> AbstractContextManager[peer.MailPeer]:
        return waypost.running(directory, hops, workers=workers)

    return Entry(waypost.name("SQLite", workers), _why_no_workers(workers), start)


def _waypost_on_postgresql(workers: int) -> Entry:
    @contextmanager
    def start(directory: Path, hops: NextHops | None) -> Iterator[peer.MailPeer]:
        with (
            postgresql.running(directory.with_name(f"{directory.name}-database")) as server,
            waypost.running(directory, hops, workers=workers, database=server.new_database()) as running,
        ):
            yield running

    why_not = _why_no_workers(workers) or postgresql.why_not()
    return Entry(waypost.name("PostgreSQL", workers), why_not, start)


def _why_no_workers(workers: int) -> str | None:
    if workers > 1 and not waypost.has_workers():
        return "this version of Waypost has no --workers"
    return None
