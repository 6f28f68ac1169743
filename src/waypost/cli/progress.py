"""Shows the progress of a long command on a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

_STEPS = 1_000
"""The number of steps of the bar. Its length is always the same, also if the size of the work changes."""


@contextmanager
def bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function whose arguments are how much is done and how much there is. If standard error is a terminal, the
    function shows a bar there.
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None  # noqa: ARG005 - nobody sees the progress
        return
    with click.progressbar(length=_STEPS, label=label, file=sys.stderr) as shown:

        def report(done: int, total: int) -> None:
            shown.update(_STEPS * done // max(total, 1) - shown.pos)

        yield report
