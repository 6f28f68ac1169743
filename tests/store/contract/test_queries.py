"""The queries of both stores: the same names with the same parameters, each saying why it is there."""

import re
from importlib import resources
from pathlib import Path

import pytest

import waypost.store
from tests.kit.stores.both_stores import ENGINES
from waypost.store import sql

OF_ONE = {
    "search_range": "SQLite gives each instance a range of numbers",
    "add_search_range": "likewise",
    "remove_search_range": "likewise",
}
MORE_IN_POSTGRESQL = {
    "add_search_entry": ("trigrams",),  # which SQLite makes itself
    "update_search_entry": ("trigrams",),
}
NAME = re.compile(r"^-- name: (\w+)\(", re.MULTILINE)


def names_in(folder):
    """The names of the queries in the files of a folder."""
    files = resources.files("waypost.store.sql").joinpath(folder).iterdir()
    return [name for file in files for name in NAME.findall(file.read_text(encoding="utf-8"))]


def test_both_stores_have_the_same_queries():
    sqlite, postgres = (sql.load(name) for name in ENGINES)
    assert len(sqlite) > 40
    assert set(sqlite) ^ set(postgres) == set(OF_ONE)
    for name in set(sqlite) & set(postgres):
        assert postgres[name].parameters == sqlite[name].parameters + MORE_IN_POSTGRESQL.get(name, ()), name


def test_what_both_databases_run_alike_stands_once():
    assert not set(names_in("common")) & {*names_in("sqlite"), *names_in("postgres")}
    plain = [
        {name: re.sub(r"[?$]\d+", "?", query.sql).split() for name, query in sql.load(dialect).items()}
        for dialect in ENGINES
    ]
    alike = {name for name in plain[0] if plain[0][name] == plain[1].get(name)}
    assert alike <= set(names_in("common"))


@pytest.mark.parametrize("dialect", ENGINES)
def test_every_parameter_is_used_and_numbered_in_the_order_in_which_it_is_given(dialect):
    for name, query in sql.load(dialect).items():
        used = {int(number) for number in re.findall(r"[?$](\d+)", query.sql)}
        assert used == set(range(1, len(query.parameters) + 1)), name
        assert len(set(query.parameters)) == len(query.parameters), name
        assert not re.search(r"(?<!:):\w|[{}]", query.sql.replace("'{}'", "")), name


@pytest.mark.parametrize("dialect", ENGINES)
def test_every_query_says_why_it_is_there(dialect):
    text = "\n".join(sql.texts(dialect))
    names = NAME.findall(text)
    assert names == list(sql.load(dialect))
    assert text.count("-- name: ") == len(names) == len(set(names))
    for name in names:
        assert re.search(rf"^-- name: {name}\([^)]*\)\n-- ", text, re.MULTILINE), name


def test_no_query_is_without_a_use():
    store = Path(waypost.store.__file__).parent
    for dialect in ENGINES:
        files = [*store.glob("common/transaction/*.py"), *store.glob(f"{dialect}/transaction.py")]
        used = "".join(file.read_text(encoding="utf-8") for file in files)
        for name in sql.load(dialect):
            assert f'"{name}"' in used, name
