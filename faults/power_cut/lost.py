"""What a power cut undoes: the counts, and the choice by a seed."""

import random

from msgspec import Struct

from faults.power_cut.records import Contents, Names


class Lost(Struct):
    """The numbers of changes that a power cut has undone, by their kinds, without those that had changed nothing."""

    writes: int = 0
    """Writes of which nothing is left."""
    torn: int = 0
    """Writes of which some sectors are left."""
    zeros: int = 0
    """Writes that left zeros: the file has its new size, but not what was written there."""
    truncations: int = 0
    """Changes of a file's size by `ftruncate`, O_TRUNC or `fallocate`."""
    mapped: int = 0
    """Pages of memory that a process shared with a file."""
    creations: int = 0
    """New files, directories and symbolic links."""
    removals: int = 0
    renames: int = 0
    links: int = 0

    @property
    def total(self) -> int:
        """The number of all changes that were undone."""
        return sum(getattr(self, name) for name in self.__struct_fields__)


class Choice:
    """Decides by a seed which changes without a sync are lost.

    Without `reorder`, the disk has written the changes in their order until the cut. With it, the disk has written each
    file, each sector and each name at its own time. How much it has written differs from seed to seed.
    """

    def __init__(self, seed: int, changes: list[Contents | Names], *, tear: int, reorder: bool) -> None:
        self._random = random.Random(seed)
        self.tear, self.reorder = tear, reorder
        self._kept: set[int] | None = None
        self._last: Contents | Names | None = None
        if reorder:
            self._names, self._contents = (self._random.choice((0.0, 0.2, 0.5, 0.8, 1.0)) for _ in range(2))
        else:
            uncertain = [change for change in changes if not is_certain(change)]
            count = self._random.randint(0, len(uncertain))
            self._kept = {id(change) for change in uncertain[:count]}
            self._last = uncertain[count] if count < len(uncertain) else None

    def keeps(self, change: Contents | Names) -> bool:
        """Whether a change as a whole is on the disk."""
        if self._kept is not None:
            return id(change) in self._kept
        return self._random.random() < (self._names if isinstance(change, Names) else self._contents)

    def kept_pieces(self, change: Contents, count: int) -> list[bool]:
        """Return for each of the sectors of a write whether it is on the disk."""
        if self._kept is None:
            return [self._random.random() < self._contents for _ in range(count)]
        if change is self._last and count > 1:
            whole = self._random.randrange(count)
            return [number < whole for number in range(count)]
        return [self.keeps(change)] * count

    def leaves_zeros(self) -> bool:
        """Whether the disk has the new size of a file although it has not written the octets there."""
        return self._kept is None and self._random.random() < 0.2


def is_certain(change: Contents | Names) -> bool:
    """Whether a change survives or is lost whatever the seed is."""
    return change.is_durable or (isinstance(change, Contents) and change.is_doomed)
