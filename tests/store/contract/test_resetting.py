"""A server for tests forgets everything, on both stores."""

import re

import pytest

from tests.kit.stores.calls import associate, create, ids, tokened
from tests.kit.values import NOW, TENANT, a_line, make_instance
from tests.store.contract.mail.test_mail_index import index, keep, note
from tests.store.contract.mail.test_refusals import a_refusal, add
from waypost.app import resetting
from waypost.app.directory import instances
from waypost.app.mail import routes
from waypost.domain import errors
from waypost.domain.iam.access_keys import AccessKey
from waypost.domain.mail.routes import Route
from waypost.store import sql

KEPT = {
    "migrations": "the schema stays",
    "migration_versions": "the same",
    "deployment_marks": "they say what was done once",
    "console_sessions": "a person may look at the pages while tests run",
    "console_links": "the same",
    "instances": "the others are marked as deleted",
    "search_ranges": "they belong to the instances",
    "routes": "`put_routes` removes them",
}
"""Tables that no query of `resetting.sql` clears, each with the reason."""


CLEARED = {
    found[1]
    for name, query in sql.load("sqlite").items()
    if name.startswith("forget_") and (found := re.match(r"DELETE FROM (\w+)(?!.* IN \()", query.sql, re.DOTALL))
}
OF_AN_INDEX = re.compile("(search_texts|mail_words)_|search_texts$|sqlite_")
"""The names of tables that SQLite manages itself."""


def test_each_table_is_cleared_or_kept_on_purpose(tx):
    tables = {name for (name,) in tx.connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {name for name in tables if not OF_AN_INDEX.match(name)} == CLEARED | set(KEPT)


def test_everything_is_forgotten_except_one_instance_and_one_key(store, instance):
    store.write(lambda tx: make_instance(tx, "other", alias="other"))
    create(store, "a", "p", tags={"team": "x"})
    create(store, "q", call=tokened())
    associate(store, "p", "a")
    for name in ("owner", "made later"):
        store.write(lambda tx, name=name: tx.add_access_key(AccessKey(id=name, secret="s", account=TENANT.account)))
    store.write(routes.add_route, Route(match="*", to="smtp://mail.example.net:25"), before=None)
    add(store, a_refusal())
    message_id = keep(store, 0)
    store.write(lambda tx: tx.add_events(message_id, [a_line("dead", address="a@example.com", because="x")]))
    index(store)
    _, last = store.long_read(lambda tx: tx.change_bounds())
    assert last > 0

    store.write(resetting.forget_everything, instance_id="i", access_key_id="owner", now=NOW)
    left = {name: count for name, count in store.count(*CLEARED).items() if count}
    assert left == {"access_keys": 1}
    assert [key.id for key in store.read(lambda tx: tx.access_keys())] == ["owner"]
    assert store.read(routes.list_routes) == ()
    assert ids(store) == []
    assert store.read(instances.oldest, TENANT).id == "i"
    with pytest.raises(errors.NotFound):
        store.read(instances.get, TENANT, "other")

    create(store, "a", call=tokened(b"another call"))
    keep(store, 1)
    note(store)
    assert store.long_read(lambda tx: tx.change_bounds())[0] > last


def test_a_database_that_another_server_has_made_is_refused(store, instance):
    with pytest.raises(errors.Conflict, match="new data directory"):
        store.write(resetting.refuse_other_data)
    with pytest.raises(errors.Conflict):  # the first refusal has left no mark
        store.write(resetting.refuse_other_data)


def test_a_database_that_a_server_for_tests_has_made_is_accepted_again(store):
    store.write(resetting.refuse_other_data)
    store.write(make_instance)
    store.write(resetting.refuse_other_data)
