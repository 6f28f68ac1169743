"""Divides the processor's cores between the load generators and the servers."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cores:
    """The numbers of the cores for the load generators (and next hops), and for the servers that are measured."""

    generators: frozenset[int]
    servers: frozenset[int]

    @property
    def shared(self) -> bool:
        """Whether generators and servers run on the same cores."""
        return bool(self.generators & self.servers)


def divided(usable: Sequence[int]) -> Cores:
    """Give a quarter of the cores, and at least one, to the generators. With two cores or fewer, all share them."""
    if len(usable) <= 2:
        return Cores(frozenset(usable), frozenset(usable))
    generators = max(1, len(usable) // 4)
    return Cores(frozenset(usable[:generators]), frozenset(usable[generators:]))


HERE = divided(sorted(os.sched_getaffinity(0)))
"""The division on this machine."""


def generate_here() -> None:
    """Put this process, and the load generators that it starts, on their cores."""
    os.sched_setaffinity(0, HERE.generators)


@contextmanager
def used(cores: frozenset[int]) -> Iterator[None]:
    """Processes that are started in this block run on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
