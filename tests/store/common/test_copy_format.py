"""Files in the text format of COPY are read as PostgreSQL reads them."""

import psycopg
import pytest

from tests.kit.stores import postgresql
from waypost.store.common import copy_format

TEXTS = [
    "",
    "plain",
    "tab\there",
    "line\nfeed",
    "return\rhere",
    "back\\slash",
    "\\N",
    "\\.",
    "\b\f\v",
    "ü\u2028\x85\x1c",
    "\\t",
]


@pytest.fixture
def database():
    url = postgresql.new_database()
    yield url
    postgresql.drop_database(url)


def test_rows_are_read_as_postgresql_has_written_them(database, tmp_path):
    given = [
        *((text, number, number % 2 == 0, text.encode()) for number, text in enumerate(TEXTS)),
        (None, None, None, None),
    ]
    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE t (text TEXT, number BIGINT, flag BOOLEAN, octets BYTEA)")
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO t VALUES (%s, %s, %s, %s)", given)
        with (tmp_path / "t.copy").open("wb") as file, connection.cursor().copy("COPY t TO STDOUT") as blocks:
            for block in blocks:
                file.write(block)
    found = list(copy_format.rows(tmp_path / "t.copy", ["text", "bigint", "boolean", "bytea"]))
    assert found == [
        (text, number, None if flag is None else int(flag), None if octets is None else len(octets))
        for text, number, flag, octets in given
    ]


def test_a_line_with_another_number_of_columns_is_refused(tmp_path):
    (tmp_path / "t.copy").write_text("a\tb\n")
    with pytest.raises(ValueError, match="zip"):
        list(copy_format.rows(tmp_path / "t.copy", ["text"]))
