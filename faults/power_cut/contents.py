"""Undoes changes of one file's contents.

All changes from the last back to the first that may be lost are undone, which shows what each has written. Then those
that survive are made again, in their order.
"""

from collections.abc import Iterator

from faults.power_cut.lost import Choice, Lost
from faults.power_cut.records import Contents, Kind

PAGE = 4096
"""The number of octets that the kernel writes together of memory that is shared with a file."""


def settle(octets: bytearray, changes: list[Contents], choice: Choice, lost: Lost) -> None:
    """Change the contents of a file to what is left of them after a power cut, and count what is lost."""
    uncertain = [number for number, change in enumerate(changes) if not change.is_durable]
    if not uncertain:
        return
    changes = changes[uncertain[0] :]
    for change in reversed(changes):
        _undo(octets, change)
    stale = _Stale()
    for change in changes:
        if change.kind is Kind.TRUNCATE:
            _redo_truncation(octets, change, choice, stale, lost)
        else:
            _redo_write(octets, change, choice, stale, lost)


class _Stale:
    """The octets of a file of which the disk has an earlier version. Later changes of them are lost too, because the
    disk has versions of each sector in their order.
    """

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] = []

    def add(self, start: int, end: int) -> None:
        if self._ranges and self._ranges[-1][1] == start:
            self._ranges[-1] = (self._ranges[-1][0], end)
        else:
            self._ranges.append((start, end))

    def has(self, start: int, end: int) -> bool:
        return any(first < end and start < last for first, last in self._ranges)


def _undo(octets: bytearray, change: Contents) -> None:
    change.size_after = len(octets)
    if change.kind is not Kind.TRUNCATE:
        change.after = bytes(octets[change.offset : change.offset + change.extent])
    _put(octets, change.offset, change.before)
    _resize(octets, change.size)


def _put(octets: bytearray, offset: int, put: bytes) -> None:
    if put:
        _resize(octets, max(len(octets), offset))
        octets[offset : offset + len(put)] = put


def _resize(octets: bytearray, size: int) -> None:
    if size < len(octets):
        del octets[size:]
    else:
        octets.extend(bytes(size - len(octets)))


def _redo_truncation(octets: bytearray, change: Contents, choice: Choice, stale: _Stale, lost: Lost) -> None:
    if change.is_durable or (not change.is_doomed and choice.keeps(change)):
        _resize(octets, change.size_after)
        return
    if change.size_after < change.size:
        # What a file has after it was emptied is in other blocks, which it does not have without the truncation.
        stale.add(change.size_after, 2**63)
    lost.truncations += change.size_after != change.size


def _redo_write(octets: bytearray, change: Contents, choice: Choice, stale: _Stale, lost: Lost) -> None:
    pieces = list(_pieces(change, choice.tear))
    if change.is_durable:
        kept = [True] * len(pieces)
    elif change.is_doomed:
        kept = [False] * len(pieces)
    else:
        chosen = choice.kept_pieces(change, len(pieces))
        kept = [keep and not stale.has(*piece) for keep, piece in zip(chosen, pieces, strict=True)]
    changed = 0
    for keep, (start, end) in zip(kept, pieces, strict=True):
        new = change.after[start - change.offset : end - change.offset]
        if keep:
            _put(octets, start, new)
        else:
            stale.add(start, end)
            changed += octets[start:end] != new
    if not changed:
        return
    if change.kind is Kind.MAP:
        lost.mapped += changed
    elif len(octets) < change.offset + len(change.after) and choice.reorder and choice.leaves_zeros():
        _resize(octets, change.offset + len(change.after))
        lost.zeros += 1
    elif any(kept):
        lost.torn += 1
    else:
        lost.writes += 1


def _pieces(change: Contents, tear: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of a write that the disk writes independently of each other."""
    start, end = change.offset, change.offset + len(change.after)
    size = PAGE if change.kind is Kind.MAP else tear or max(end, 1)
    while start < end:
        stop = min(end, start - start % size + size) if size != end else end
        yield start, stop
        start = stop
