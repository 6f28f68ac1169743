"""Reads the settings of a PostgreSQL server that matter for durability and capacity, for `waypost doctor`."""

from collections.abc import Mapping

import psycopg

from waypost.store.postgres import clock
from waypost.store.postgres.connection import unavailable, where
from waypost.store.postgres.transaction import QUERIES

_QUERY = b"""SELECT current_setting('server_version'), current_setting('fsync'), current_setting('full_page_writes'),
    current_setting('synchronous_commit'), current_setting('max_connections'),
    current_setting('superuser_reserved_connections'),
    (SELECT count(*) FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND application_name <> 'waypost')::text"""
"""SQL that returns the values in the order of `_NAMES`. The sessions of Waypost's own servers are not counted as
others."""

_NAMES = (
    "server_version",
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "max_connections",
    "reserved_connections",
    "other_connections",
)


def read(url: str) -> tuple[Mapping[str, str], float]:
    """Return settings of the PostgreSQL server, by name; and the number of seconds by which this machine's clock is
    ahead of its clock. `other_connections` is the number of sessions of other programs.

    Raises `BadDatabase` or `StoreUnavailable`.
    """
    place = where(url)
    try:
        with place.connect() as connection, connection.transaction():
            row = connection.execute(_QUERY).fetchone()

            def time_of_database() -> float:
                ((seconds,),) = connection.execute(QUERIES["time_of_database"]).fetchall()
                return float(seconds)

            ahead = clock.ahead(time_of_database)
    except psycopg.Error as error:
        raise unavailable(place, error) from error
    assert row is not None
    return dict(zip(_NAMES, row, strict=True)), ahead
