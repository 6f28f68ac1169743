"""The queries of both stores: the same names with the same parameters, each saying why it is there."""

import re
from importlib import resources

import pytest

from tests.kit.stores.both_stores import ENGINES
from waypost.store import sql

OF_ONE = {
    "search_range": "SQLite gives each instance a range of numbers",
    "add_search_range": "likewise",
    "remove_search_range": "likewise",
}
MORE_IN_POSTGRESQL = {
    "add_search_entry": "the trigrams, which SQLite makes itself",
    "update_search_entry": "likewise",
}


def parameters(query):
    """How many parameters a query takes: in both dialects they are numbered, or stand in order."""
    query = re.sub(r"'[^']*'", "''", query)
    numbers = [int(number) for number in re.findall(r"[?$](\d+)", query)]
    return max(numbers) if numbers else query.count("?")


def test_both_stores_have_the_same_queries():
    sqlite, postgres = (sql.load(name) for name in ENGINES)
    assert len(sqlite) > 40
    assert set(sqlite) ^ set(postgres) == set(OF_ONE)
    for name in set(sqlite) & set(postgres):
        assert parameters(postgres[name]) - parameters(sqlite[name]) == (name in MORE_IN_POSTGRESQL), name


@pytest.mark.parametrize("dialect", ENGINES)
def test_every_query_says_why_it_is_there(dialect):
    text = "\n".join(sql.texts(dialect))
    names = re.findall(r"^-- name: (.*)$", text, re.MULTILINE)
    assert names == list(sql.load(dialect))
    assert len(names) == len(set(names))
    for name in names:
        assert f"-- name: {name}\n-- " in text


def test_no_query_is_without_a_use():
    store = resources.files("waypost.store")
    for dialect in ENGINES:
        files = [file for room in ("common", dialect) for file in store.joinpath(room).iterdir()]
        used = "".join(file.read_text(encoding="utf-8") for file in files if file.name.endswith("transaction.py"))
        for name in sql.load(dialect):
            assert f'"{name}"' in used, name
