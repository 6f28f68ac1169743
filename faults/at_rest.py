"""Damages the files of a stopped server: flips bits and truncates, by a seed."""

import random
from pathlib import Path

from msgspec import Struct

TARGETS = ("waypost.sqlite3", "waypost.sqlite3-wal", "master.key")
"""The files in the data directory that are damaged, if they exist."""


class Damage(Struct, frozen=True):
    """What `damage` has done to one file."""

    file: str
    flipped: tuple[int, ...] = ()
    """The positions of the octets in which one bit was flipped."""
    truncated_to: int | None = None

    def __str__(self) -> str:
        if self.truncated_to is not None:
            return f"{self.file}: truncated to {self.truncated_to} octets"
        return f"{self.file}: bits flipped at {self.flipped}"


def damage(directory: Path, seed: int, *, targets: tuple[str, ...] = TARGETS) -> Damage:
    """Damage one file of a data directory whose server has stopped. The same files and seed give the same damage.

    Raises `FileNotFoundError` if none of the targets has any octets.
    """
    chance = random.Random(seed)
    files = [directory / name for name in targets if (directory / name).exists() and (directory / name).stat().st_size]
    if not files:
        raise FileNotFoundError(f"{directory} has none of {', '.join(targets)}")
    file = chance.choice(files)
    octets = bytearray(file.read_bytes())
    if chance.random() < 0.25:
        size = chance.randrange(len(octets))
        with file.open("r+b") as opened:
            opened.truncate(size)
        return Damage(file.name, truncated_to=size)
    # Few disks flip a single bit; a bad sector changes many octets that are close together.
    count, close = chance.choice([1, 1, 8, 64]), chance.random() < 0.5
    first = chance.randrange(len(octets))
    places = {
        min(first + chance.randrange(512), len(octets) - 1) if close else chance.randrange(len(octets))
        for _ in range(count)
    }
    for place in places:
        octets[place] ^= 1 << chance.randrange(8)
    file.write_bytes(octets)
    return Damage(file.name, flipped=tuple(sorted(places)))
