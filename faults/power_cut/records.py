"""Reads the log of `power_cut.c`: the changes in their order, each with whether a sync has made it durable."""

import enum
import struct
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

_CONTROL = struct.Struct("<QQ")
_RECORD = struct.Struct("<IIQQQQQII")
_NAME_OCTETS = 256
_ENTRY = struct.Struct(f"<QQ{_NAME_OCTETS}s")
_MAGIC = int.from_bytes(b"PWORCUT1", "little")


class Kind(enum.IntEnum):
    """The kinds of records."""

    WRITE = 1
    TRUNCATE = 2
    MAP = 3
    NAMES = 4
    SYNC = 5
    SYNC_MAP = 6
    SYNC_ALL = 7
    FAILED_SYNC = 8


class Change(enum.IntEnum):
    """The kinds of changes of names."""

    CREATION = 1
    REMOVAL = 2
    RENAME = 3
    LINK = 4


class Contents(Struct, eq=False):
    """A change of a file's contents."""

    kind: Kind
    inode: int
    offset: int
    """Where the change begins; the new size of a truncation."""
    extent: int
    size: int
    """The size of the file before the change."""
    before: bytes
    """The octets that the change replaces, as far as the file had any."""
    process: int
    is_durable: bool = False
    is_doomed: bool = False
    """Whether a failed sync has dropped the change, so that no later sync makes it durable."""
    after: bytes = b""
    size_after: int = 0
    """What the change has written. The log does not have it; `contents.py` finds it out."""


class Entry(Struct, eq=False):
    """What one name in a directory was before and after a change: an inode, or 0. The log does not have what it was
    after the change; `names.py` finds it out.
    """

    directory: int
    name: str
    before: int
    after: int = 0

    @property
    def place(self) -> tuple[int, str]:
        """The directory and the name."""
        return self.directory, self.name


class Names(Struct, eq=False):
    """A change of one name, or of two names by a rename, whose new name is last."""

    change: Change
    entries: list[Entry]
    is_durable: bool = False


def read(directory: Path) -> list[Contents | Names]:
    """Return the changes in the log, in the order in which they were made."""
    try:
        magic, end = _CONTROL.unpack_from((directory / "control").read_bytes())
    except (FileNotFoundError, struct.error):
        return []
    if magic != _MAGIC:
        return []
    log = (directory / "log").read_bytes()[:end]
    changes: list[Contents | Names] = []
    positions: list[int] = []
    pending: set[int] = set()
    for position, kind, change, header, payload in _records(log):
        inode, offset, extent, size, process, entries = header
        if kind is Kind.NAMES:
            changes.append(Names(Change(change), [_entry(payload, number) for number in range(entries)]))
        elif kind < Kind.NAMES:
            changes.append(Contents(kind, inode, offset, extent, size, payload, process))
        else:
            before = [number for number in pending if positions[number] < offset]
            pending.difference_update(_settled(kind, inode, process, changes, before))
            continue
        pending.add(len(positions))
        positions.append(position)
    return changes


def _records(log: bytes) -> Iterator[tuple[int, Kind, int, tuple[int, ...], bytes]]:
    position = 0
    while position < len(log):
        kind, change, length, *header = _RECORD.unpack_from(log, position)
        yield position, Kind(kind), change, tuple(header), log[position + _RECORD.size : position + length]
        position += length


def _entry(payload: bytes, number: int) -> Entry:
    directory, inode, name = _ENTRY.unpack_from(payload, number * _ENTRY.size)
    return Entry(directory, _text(name.partition(b"\0")[0]), inode)


def _text(name: bytes) -> str:
    return name.decode(errors="surrogateescape")


def _settled(kind: Kind, inode: int, process: int, changes: list, before: list[int]) -> Iterator[int]:
    """Apply a sync to the changes before it. Yield those whose outcome is now known.

    The sync of a directory makes the new names in it durable, and all earlier changes of the same names: a journal has
    them in their order.
    """
    places = set()
    for number in sorted(before, reverse=True):
        change = changes[number]
        if isinstance(change, Contents):
            _sync_contents(change, kind, inode, process)
            if change.is_durable or change.is_doomed:
                yield number
        elif (
            kind is Kind.SYNC_ALL
            or (kind is Kind.SYNC and change.entries[-1].directory == inode)
            or any(entry.place in places for entry in change.entries)
        ):
            change.is_durable = True
            places.update(entry.place for entry in change.entries)
            yield number


def _sync_contents(change: Contents, kind: Kind, inode: int, process: int) -> None:
    """Apply a sync to a change of a file's contents that happened before it."""
    is_mapped = change.kind is Kind.MAP
    is_own = change.inode == inode and (not is_mapped or change.process == process)
    if kind is Kind.FAILED_SYNC:
        change.is_doomed |= change.inode == inode and not is_mapped
    elif kind is Kind.SYNC_MAP:
        change.is_durable |= is_own and is_mapped
    else:
        change.is_durable |= is_own or (kind is Kind.SYNC_ALL and not is_mapped)
