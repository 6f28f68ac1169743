"""A connection to PostgreSQL that the event loop itself uses, without a thread, to send many statements in one round
trip.

The connection uses libpq's pipeline mode through `psycopg.pq`. psycopg's cursors would take several times as long for
each statement, and a thread for each transaction would switch threads dozens of times for each message
(docs/decisions/0040-group-commit-on-postgresql.md). psycopg still converts the values.
"""

import asyncio
import select
from collections.abc import Sequence
from itertools import count
from typing import Any

import psycopg
from msgspec import Struct
from psycopg import errors as pg
from psycopg import pq
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq.abc import PGresult

from waypost.store.common import rows
from waypost.store.postgres.transaction import Connection

_FAILED = (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.BAD_RESPONSE)


class Parameters(Struct, frozen=True):
    """The parameters of one statement, converted to the form in which libpq sends them."""

    values: Sequence[Any] = ()
    types: tuple[int, ...] = ()
    formats: Sequence[pq.Format] = ()


NO_PARAMETERS = Parameters()


class PipelinedConnection:
    """A connection in pipeline mode. The object belongs to the running event loop.

    The caller adds statements with `send`, and then waits for all of their results with `results`.
    """

    def __init__(self, connection: Connection, *, prepares: bool) -> None:
        """`connection` is an open connection without a transaction, which nothing else may use any more. If `prepares`
        is true, each statement is prepared when it is first sent.
        """
        self._connection = connection
        self._libpq = connection.pgconn
        self._libpq.nonblocking = 1
        self._libpq.enter_pipeline_mode()
        self._socket = self._libpq.socket
        self._values = Transformer(connection)
        self._prepares = prepares
        self._prepared: dict[tuple[bytes, tuple[int, ...]], bytes] = {}
        self._numbers = count()
        self._preparing: list[tuple[bytes, tuple[int, ...]]] = []
        """The statements that are prepared for the first time since the last call of `results`."""
        self._is_query: list[bool] = []
        """For each command since the last call of `results`, whether it is a query, and not only prepares one."""
        self._arrived: list[PGresult] = []
        self._command: PGresult | None = None
        """The first result of the command whose results are arriving."""
        self._waiting: asyncio.Future[list[PGresult]] | None = None
        self._readable = select.poll()
        self._readable.register(self._socket, select.POLLIN)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._receive)
        self._is_sending = False
        self.error: psycopg.Error | None = None
        """The error because of which the connection was lost, or None if the connection works."""

    def parameters(self, values: rows.Row) -> Parameters:
        """Convert the parameters of a statement. Raises `psycopg.DataError` or `UnicodeEncodeError` for a value that
        PostgreSQL cannot store.
        """
        converted = self._values.dump_sequence(values, [PyFormat.AUTO] * len(values))
        assert self._values.types is not None
        assert self._values.formats is not None
        return Parameters(converted, self._values.types, self._values.formats)

    def send(self, sql: bytes, parameters: Parameters = NO_PARAMETERS, *, prepare: bool = True) -> None:
        """Add a statement to the pipeline. If `prepare` is false, PostgreSQL plans the statement for these parameters.

        Raises `psycopg.OperationalError` if the connection is lost.
        """
        self._refuse_if_lost()
        if not (prepare and self._prepares):
            self._libpq.send_query_params(
                sql, parameters.values, parameters.types or None, parameters.formats, pq.Format.BINARY
            )
        else:
            key = (sql, parameters.types)
            name = self._prepared.get(key)
            if name is None:
                # Each name is used once, because a statement may have been prepared before its transaction failed.
                name = self._prepared[key] = b"waypost_%d" % next(self._numbers)
                self._preparing.append(key)
                self._libpq.send_prepare(name, sql, parameters.types or None)
                self._is_query.append(False)
            self._libpq.send_query_prepared(name, parameters.values, parameters.formats, pq.Format.BINARY)
        self._is_query.append(True)

    async def results(self) -> list[PGresult]:
        """Send the statements, and return their results in order.

        Raises `psycopg.Error` for the first statement that failed. PostgreSQL did not run the statements after it.
        """
        self._refuse_if_lost()
        self._arrived = []
        self._libpq.pipeline_sync()
        self._waiting = self._loop.create_future()
        self._flush()
        try:
            arrived = await self._waiting
            for result in arrived:
                if result.status in _FAILED:
                    raise pg.error_from_result(result)
        except BaseException:
            for key in self._preparing:
                self._prepared.pop(key, None)
            raise
        finally:
            self._waiting = None
            is_query, self._is_query, self._preparing = self._is_query, [], []
        return [result for result, wanted in zip(arrived, is_query, strict=True) if wanted]

    def rows(self, result: PGresult) -> list[Any]:
        """Return the rows of a result as tuples of Python values."""
        self._values.set_pgresult(result)
        return self._values.load_rows(0, result.ntuples, tuple)

    @property
    def is_in_transaction(self) -> bool:
        """Whether a transaction is open, or has failed and must be rolled back."""
        return self._libpq.transaction_status != pq.TransactionStatus.IDLE

    def lose(self, why: psycopg.Error) -> None:
        """Close the connection. If a caller waits for results, it gets the error `why`."""
        if self.error:
            return
        self.error = why
        self._loop.remove_reader(self._socket)
        self._stop_sending()
        self._connection.close()
        if self._waiting and not self._waiting.done():
            self._waiting.set_exception(why)

    def close(self) -> None:
        """Close the connection, which must not be used any more."""
        self.lose(psycopg.OperationalError("the connection was closed"))

    def _refuse_if_lost(self) -> None:
        if self.error:
            raise self.error

    def _receive(self) -> None:
        """Read the results that have arrived. The event loop calls this method if the socket is readable.

        If the connection is reset, uvloop calls this method only once more. Therefore it reads everything, until the
        error.
        """
        try:
            self._libpq.consume_input()
            self._read_results()
            while self._readable.poll(0):
                self._libpq.consume_input()
                self._read_results()
        except psycopg.Error as error:
            self.lose(error)

    def _read_results(self) -> None:
        while not self._libpq.is_busy():
            result = self._libpq.get_result()
            if result is None:
                if self._command is None:  # all results that have arrived are read
                    break
                self._arrived.append(self._command)
                self._command = None
            elif result.status == pq.ExecStatus.PIPELINE_SYNC:
                if self._waiting and not self._waiting.done():
                    self._waiting.set_result(self._arrived)
            elif self._command is None:
                self._command = result
        if self._libpq.status != pq.ConnStatus.OK:
            failed = [result for result in (*self._arrived, self._command) if result and result.status in _FAILED]
            raise pg.error_from_result(failed[-1]) if failed else psycopg.OperationalError("the connection was lost")

    def _flush(self) -> None:
        """Send as much as the socket accepts. The event loop calls this method again if the socket is writable."""
        try:
            is_complete = self._libpq.flush() == 0
        except psycopg.Error as error:
            self.lose(error)
            return
        if is_complete:
            self._stop_sending()
        elif not self._is_sending:
            self._is_sending = True
            self._loop.add_writer(self._socket, self._flush)

    def _stop_sending(self) -> None:
        if self._is_sending:
            self._is_sending = False
            self._loop.remove_writer(self._socket)
