"""Counts what a long command has done, for its progress bar."""

from waypost.app.ports.backups import ReportProgress


class Steps:
    """The progress of several steps, each of which handles the same number of bytes or rows."""

    def __init__(self, count: int, report: ReportProgress) -> None:
        self._count = count
        self._report = report
        self._step = 0

    def step(self, done: int, total: int) -> None:
        """Report the progress of the present step."""
        self._report(self._step * total + done, self._count * total)

    def next(self, total: int) -> "Parts":
        """Begin the next step. Return the counter of its bytes or rows, of which there are `total`."""
        self._step += 1
        return Parts(self, total)


class Parts:
    """Counts the bytes or rows of one step."""

    def __init__(self, steps: Steps, total: int) -> None:
        self._steps = steps
        self._total = total
        self._done = 0

    def add(self, number: int) -> None:
        """Report that so many more are done."""
        self._done += number
        self._steps.step(min(self._done, self._total), self._total)
