"""Runs many use cases in one transaction on PostgreSQL, without a thread for each of them.

A use case is a plain function, which cannot wait for PostgreSQL in the middle. Therefore, if a use case needs a result
that has not arrived, its run ends. The store sends the look-ups of all use cases together, and then runs each use case
again with the results. The inserts of a use case are collected, and are sent only after its run was complete.
Therefore, a use case that raises an exception has no effect on the others.

A use case may share a transaction only if it first looks up rows without locking them, and then inserts rows. If a use
case does anything else, the store runs it in a transaction of its own.
"""

import re
from asyncio import Future
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any, NoReturn

import psycopg
from msgspec import Struct, field

from waypost.store.common import rows
from waypost.store.common.outcomes import Outcome
from waypost.store.common.statements import Seal
from waypost.store.postgres.pipelined import Parameters
from waypost.store.postgres.transaction import QUERIES, PostgresQueries
from waypost.store.sql import inserts

MOST_LOOK_UPS = 2
"""The maximum number of look-ups in a shared transaction, because each look-up runs the use case once more. A use case
with more look-ups gets a transaction of its own."""

_LOOK_UPS = {name for name, sql in QUERIES.items() if sql.startswith(b"SELECT") and not re.search(rb"\bFOR [A-Z]", sql)}
"""The names of the queries that only read, and lock nothing."""

_INSERTS = {name for name, sql in QUERIES.items() if inserts.only_inserts(sql.decode())}
"""The names of the queries that only insert one row."""

_SIZES = (32, 16, 8, 4, 2, 1)
"""The numbers of rows that one INSERT can have. There are few different numbers, because each number needs a prepared
statement."""


class NeedsOwnTransaction(BaseException):
    """A use case cannot share its transaction. The store runs it again, in a transaction of its own.

    This class is not an `Exception`, so that no use case catches it by mistake.
    """


class _Unanswered(BaseException):
    """The result of a look-up has not arrived, so the run of the use case ends here."""


class LookUp(Struct):
    """A query whose result a use case needs, and the rows of the result when they have arrived."""

    query: str
    parameters: rows.Row
    converted: Parameters
    """`parameters`, in the form in which they are sent."""
    found: list[Any] | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """A value that two look-ups share if they send the same query with the same parameters."""
        values = (None if value is None else bytes(value) for value in self.converted.values)
        return self.query, self.converted.types, *values


class Job(Outcome):
    """A use case that waits for its turn or for a result, and everything that is known about its run."""

    use_case: Callable[[Any], Any]
    since: float
    """The time when the use case began to wait, on the event loop's clock."""
    future: "Future[bool]"
    """The future gets the value True if the use case has its outcome, and False if it needs its own transaction."""
    look_ups: list[LookUp] = field(default_factory=list)
    """The look-ups of the use case so far, in order. Only the last may be unanswered."""
    inserts: list[tuple[str, Parameters]] = field(default_factory=list)
    octets: int = 0
    """The size of the values in `inserts`, in bytes."""
    position: int = 0
    """The number of look-ups that the current run has already made."""

    @property
    def unanswered(self) -> LookUp | None:
        """The look-up that must be answered before the use case can run again; None if its run was complete."""
        return self.look_ups[-1] if self.look_ups and self.look_ups[-1].found is None else None

    def finish(self) -> None:
        """Let the caller take the result, unless the caller has stopped waiting."""
        if not self.future.done():
            self.future.set_result(True)

    def fail(self, error: BaseException) -> None:
        """Let the caller raise an exception, unless the caller has stopped waiting."""
        if not self.future.done():
            self.error = error
            self.future.set_result(True)

    def run_alone(self) -> None:
        """Let the caller run the use case in a transaction of its own."""
        if not self.future.done():
            self.future.set_result(False)


class SharedTransaction(PostgresQueries):
    """The transaction that use cases see. One object serves all use cases, one after the other."""

    def __init__(self, seal: Seal, parameters: Callable[[rows.Row], Parameters]) -> None:
        """`parameters` converts the parameters of a statement."""
        super().__init__(seal)
        self._parameters = parameters
        self._job: Job

    def run(self, job: Job) -> None:
        """Run a use case as far as the known results allow.

        Afterwards, the job has an unanswered look-up, or its result is complete, or its future is done.
        """
        self._job = job
        job.position, job.octets, job.inserts = 0, 0, []
        try:
            job.result = job.use_case(self)
        except _Unanswered:
            pass
        except (NeedsOwnTransaction, psycopg.Error):
            job.run_alone()
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller
            job.fail(error)
        finally:
            del self._job  # otherwise the use case, and so a message, stays in memory until the next use case

    @property
    def connection(self) -> NoReturn:
        raise NeedsOwnTransaction

    def _fetch(self, query: str, parameters: rows.Row) -> list[Any]:
        job = self._job
        if query not in _LOOK_UPS or job.inserts:  # the result could depend on the inserts, which are not sent yet
            raise NeedsOwnTransaction
        if job.position < len(job.look_ups):
            known = job.look_ups[job.position]
            if known.found is None or (known.query, known.parameters) != (query, parameters):
                raise NeedsOwnTransaction  # the use case does not repeat its look-ups
            job.position += 1
            return known.found
        if len(job.look_ups) == MOST_LOOK_UPS:
            raise NeedsOwnTransaction
        job.look_ups.append(LookUp(query, parameters, self._parameters(parameters)))
        raise _Unanswered

    def _ask(self, query: str, parameters: Sequence[Any]) -> list[Any]:  # noqa: ARG002
        raise NeedsOwnTransaction

    def _execute(self, query: str, parameters: rows.Row) -> None:
        if query not in _INSERTS:
            raise NeedsOwnTransaction
        converted = self._parameters(parameters)
        self._job.inserts.append((query, converted))
        self._job.octets += sum(map(len, filter(None, converted.values)))

    def _execute_each(self, query: str, parameters: Iterable[rows.Row]) -> None:
        for row in parameters:
            self._execute(query, row)


def statements(jobs: Iterable[Job]) -> Iterator[tuple[bytes, Parameters]]:
    """Return the statements that insert the rows of all jobs. One statement inserts several rows.

    The tables are in the order in which the use cases inserted into them, because rows refer to rows of other tables.
    """
    inserted: dict[str, list[Parameters]] = {}
    for job in jobs:
        for query, parameters in job.inserts:
            inserted.setdefault(query, []).append(parameters)
    for query, all_rows in inserted.items():
        start = 0
        while start < len(all_rows):
            size = next(size for size in _SIZES if size <= len(all_rows) - start)
            yield _insert(query, size), _joined(all_rows[start : start + size])
            start += size


def _joined(parameters: Sequence[Parameters]) -> Parameters:
    """Join the parameters of several rows. PostgreSQL takes their types from the columns."""
    if len(parameters) == 1:
        return Parameters(parameters[0].values, (), parameters[0].formats)
    values = [value for row in parameters for value in row.values]
    return Parameters(values, (), [format_ for row in parameters for format_ in row.formats])


@cache
def _insert(query: str, count: int) -> bytes:
    """Return the SQL that inserts `count` rows with a named query."""
    return inserts.of_rows(QUERIES[query].decode(), count).encode()
