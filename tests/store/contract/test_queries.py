"""The queries of both stores: they have the same names and parameters, and each has a comment."""

import re
from importlib import resources
from pathlib import Path

import pytest

import waypost.store
from tests.kit.stores.both_stores import ENGINES
from waypost.store import sql
from waypost.store.common import copying

ONLY_IN_SQLITE = {
    "add_mail_words": "SQLite has a column for the words of each part of a message",
    "merge_mail_words": "SQLite merges the segments of the index of mail on request",
    "search_range": "SQLite gives each instance a range of numbers",
    "add_search_range": "SQLite gives each instance a range of numbers",
    "remove_emptied_search_range": "SQLite gives each instance a range of numbers",
    "put_copied_search_entries": "PostgreSQL gets rows by COPY",
    "put_copied_tags": "PostgreSQL gets rows by COPY",
    "put_copied_mail_entries": "PostgreSQL gets rows by COPY",
    "add_copied_search_ranges": "SQLite gives each instance a range of numbers",
    "count_without_search_text": "SQLite has the trigrams in a table of their own",
    "add_search_texts": "SQLite has the trigrams in a table of their own",
    "merge_search_texts": "SQLite merges the segments of the index of trigrams on request",
    "remove_last_change_number": "PostgreSQL has a sequence for the numbers",
    "remember_last_change_number": "PostgreSQL has a sequence for the numbers",
    "lock_with_links": "PostgreSQL reads the links in a separate query, after it has acquired the locks",
}
ONLY_IN_POSTGRESQL = {
    "add_next_trace_events": "SQLite runs a short statement for each event faster",
    "search_recent": "SQLite finds the newest messages with a frequent word first",
    "time_of_database": "SQLite has no clock of its own",
    "add_mail_vector": "PostgreSQL has the words of a message in a vector",
}
MORE_IN_POSTGRESQL = {
    "add_search_entry": ("trigrams",),  # SQLite computes the trigrams itself
    "update_search_entry": ("trigrams",),
}
NAME = re.compile(r"^-- name: (\w+)\(", re.MULTILINE)


def names_in(folder):
    """Return the names of the queries in the files of a folder."""
    files = resources.files("waypost.store.sql").joinpath(folder).iterdir()
    return [name for file in files for name in NAME.findall(file.read_text(encoding="utf-8"))]


def test_both_stores_have_the_same_queries():
    sqlite, postgres = (sql.load(name) for name in ENGINES)
    assert len(sqlite) > 40
    assert set(sqlite) - set(postgres) == set(ONLY_IN_SQLITE)
    assert set(postgres) - set(sqlite) == set(ONLY_IN_POSTGRESQL)
    for name in set(sqlite) & set(postgres):
        assert postgres[name].parameters == sqlite[name].parameters + MORE_IN_POSTGRESQL.get(name, ()), name


def test_a_query_that_is_the_same_for_both_databases_is_only_in_common():
    assert not set(names_in("common")) & {*names_in("sqlite"), *names_in("postgres")}
    plain = [
        {name: re.sub(r"[?$]\d+", "?", query.sql).split() for name, query in sql.load(dialect).items()}
        for dialect in ENGINES
    ]
    alike = {name for name in plain[0] if plain[0][name] == plain[1].get(name)}
    assert alike <= set(names_in("common"))


@pytest.mark.parametrize("dialect", ENGINES)
def test_every_parameter_is_used_and_numbered_in_the_order_of_the_first_line(dialect):
    for name, query in sql.load(dialect).items():
        used = {int(number) for number in re.findall(r"[?$](\d+)", query.sql)}
        assert used == set(range(1, len(query.parameters) + 1)), name
        assert len(set(query.parameters)) == len(query.parameters), name
        assert not re.search(r"(?<!:):\w|[{}]", query.sql.replace("'{}'", "")), name


@pytest.mark.parametrize("dialect", ENGINES)
def test_every_query_has_a_comment(dialect):
    text = "\n".join(sql.texts(dialect))
    names = NAME.findall(text)
    assert names == list(sql.load(dialect))
    assert text.count("-- name: ") == len(names) == len(set(names))
    for name in names:
        assert re.search(rf"^-- name: {name}\([^)]*\)\n-- ", text, re.MULTILINE), name


def test_every_query_is_used():
    store = Path(waypost.store.__file__).parent
    for dialect in ENGINES:
        files = [*store.glob("common/transaction/*.py"), *store.glob(f"{dialect}/transaction.py")]
        files += [store / "common" / "verifying.py", store / dialect / "copies.py"]
        used = "".join(file.read_text(encoding="utf-8") for file in files)
        # `copying.query_of`, and the queries that write the same tables
        used += " ".join(f'"copied_{name}" "put_copied_{name}"' for name in copying.READ_BY_QUERY)
        for name in sql.load(dialect):
            assert f'"{name}"' in used, name
