"""The use cases for routes that commands manage, on both stores: order, numbers, and concurrent changes."""

import re
from functools import partial

import pytest

from waypost.app.deployment import Deployment
from waypost.app.mail import routes
from waypost.domain import errors
from waypost.domain.mail.routes import Fault, Route, Tls

PASSWORD = "hunter2"
FULL = Route(
    match="*@full.example",
    to="smtps://relay.example.net",
    keep=True,
    tls=Tls.VERIFY,
    user="waypost",
    secret=PASSWORD,
    rewrite_sender=False,
    connections=3,
    fault=Fault.DROP_AFTER_DATA,
)


def a_route(name, **fields):
    return Route(match=f"{name}@example.com", to=f"smtp://{name}.example.net", **fields)


def add(store, *given, before=None):
    return [store.write(routes.add_route, route, before=before) for route in given]


def listed(store):
    return list(store.read(routes.list_routes))


def names(store):
    return "".join(route.match.partition("@")[0] for route in listed(store))


def in_force(store, of_file):
    deployment = Deployment("mx.example", b"key", routes=tuple(of_file))
    return store.read(lambda tx: deployment.routes_in_force(tx, tx.routes_revision()))


@pytest.mark.parametrize("earlier", ["*", "*@example.com", "a@example.com"])
def test_a_route_that_a_route_in_the_settings_file_always_precedes_is_refused(store, earlier):
    of_file = [a_route("b"), Route(match=earlier, to="inbox")]
    with pytest.raises(errors.Conflict, match=f"The settings file has a route for {re.escape(earlier)}"):
        store.write(routes.add_route, a_route("a"), before=None, file_routes=of_file)
    assert listed(store) == []
    assert store.write(routes.add_route, a_route("a"), before=None, file_routes=[a_route("b")]) == 1


def test_a_new_deployment_has_no_routes(store):
    assert listed(store) == []
    assert in_force(store, []) == ()


@pytest.mark.parametrize(
    "route",
    [a_route("a"), FULL, Route(match="*", to="inbox", keep=True), Route(match="*", to="https://a/b", secret="x" * 16)],
    ids=["bare", "full", "inbox", "webhook"],
)
def test_a_route_is_stored_with_all_its_fields(store, route):
    assert add(store, route) == [1]
    assert listed(store) == listed(store.another()) == [route]


def test_the_address_of_a_route_is_stored_in_normalized_form(store):
    add(store, Route(match="Support@Bücher.example", to="smtp://a"))
    assert [route.match for route in listed(store)] == ["support@xn--bcher-kva.example"]


def test_a_route_is_added_at_the_end_or_before_another_route(store):
    assert add(store, a_route("a"), a_route("b"), a_route("c")) == [1, 2, 3]
    assert add(store, a_route("d"), before=1) == [1]
    assert add(store.another(), a_route("e"), before=4) == [4]
    assert names(store) == names(store.another()) == "dabec"


def test_a_route_is_removed_by_its_number_and_later_routes_move_up(store):
    add(store, a_route("a"), a_route("b"), FULL, a_route("c"))
    assert store.write(routes.remove_route, 3) == FULL
    assert names(store) == names(store.another()) == "abc"
    assert store.another().write(routes.remove_route, 1) == a_route("a")
    assert names(store) == "bc"


def test_removing_the_last_route_restores_the_initial_revision(store):
    other = store.another()
    before = store.read(lambda tx: tx.routes_revision())
    for _ in range(2):
        add(store, a_route("a"))
        assert names(other) == "a"
        store.write(routes.remove_route, 1)
        assert listed(store) == listed(other) == []
        assert other.read(lambda tx: tx.routes_revision()) == before


@pytest.mark.parametrize("number", [-1, 0, 3, 10**20])
def test_a_number_without_a_route_is_refused(store, number):
    add(store, a_route("a"), a_route("b"))
    for attempt in (
        lambda: store.write(routes.remove_route, number),
        lambda: add(store, a_route("c"), before=number),
    ):
        with pytest.raises(errors.NotFound) as refused:
            attempt()
        assert refused.value.message == f"There is no route {number}. Commands have set 2 routes."
    assert names(store) == "ab"


@pytest.mark.parametrize(("count", "stated"), [(0, "no routes"), (1, "1 route")])
def test_the_error_states_the_number_of_routes(store, count, stated):
    add(store, *[a_route("a")] * count)
    with pytest.raises(errors.NotFound, match=f"There is no route 2\\. Commands have set {stated}\\."):
        store.write(routes.remove_route, 2)


@pytest.mark.parametrize("wrong", [{"match": "a"}, {"to": "nowhere"}, {"connections": 0}, {"user": "me"}])
def test_an_invalid_route_is_refused(store, wrong):
    with pytest.raises(errors.Invalid):
        add(store, Route(**{"match": "*", "to": "smtp://a"} | wrong))
    assert listed(store) == []


def test_each_change_of_the_routes_has_a_new_revision(store):
    def revision():
        return store.another().read(lambda tx: tx.routes_revision())

    found = [revision()]
    for route, before in ((a_route("a"), None), (a_route("b"), None), (FULL, 1)):
        add(store, route, before=before)
        found.append(revision())
    store.write(routes.remove_route, 2)
    found.append(revision())
    assert len(set(found)) == 5


def test_routes_of_the_settings_file_come_first(store):
    add(store, a_route("a"), a_route("b"))
    of_file = [a_route("c"), a_route("a", keep=True)]
    assert in_force(store, of_file) == (*of_file, a_route("a"), a_route("b"))


def test_routes_that_are_added_at_the_same_time_are_all_stored(store, race):
    added = [lambda tx, name=name: routes.add_route(tx, a_route(name), before=None) for name in "abcdef"]
    numbers = race(*added)
    assert sorted(numbers) == [1, 2, 3, 4, 5, 6]
    assert sorted(names(store)) == list("abcdef")
    assert [name for _, name in sorted(zip(numbers, "abcdef", strict=True))] == list(names(store))


def test_concurrent_removals_each_remove_a_different_route(store, race):
    add(store, *(a_route(name) for name in "abcd"))
    removed = race(*[lambda tx: routes.remove_route(tx, 1)] * 4)
    assert sorted(route.match[0] for route in removed) == list("abcd")
    assert listed(store) == []


def test_a_route_that_would_never_be_used_is_refused(store):
    add(store, Route(match="*@example.com", to="smtp://a"))
    with pytest.raises(errors.Conflict, match=r"Route 2, for b@example\.com, would be unused\. Route 1, for "):
        add(store, a_route("b"))
    assert add(store, a_route("b"), before=1) == [1]


def test_a_route_is_moved_and_the_others_keep_their_order(store):
    add(store, *map(a_route, "abcd"))
    moved = store.write(routes.move_route, 4, to=2)
    assert (moved.match, names(store)) == ("d@example.com", "adbc")
    store.write(routes.move_route, 1, to=4)
    assert names(store) == "dbca"


@pytest.mark.parametrize(("number", "to"), [(0, 1), (3, 1), (1, 0), (1, 3)])
def test_a_route_is_not_moved_from_or_to_a_place_that_does_not_exist(store, number, to):
    add(store, a_route("a"), a_route("b"))
    with pytest.raises(errors.NotFound, match="Commands have set 2 routes"):
        store.write(routes.move_route, number, to=to)
    assert names(store) == "ab"


def test_a_route_is_not_moved_before_a_route_that_would_then_never_be_used(store):
    add(store, a_route("a"), Route(match="*@example.com", to="inbox"))
    with pytest.raises(errors.Conflict, match=r"Route 2, for a@example\.com, would be unused"):
        store.write(routes.move_route, 2, to=1)
    assert names(store) == "a*"


def test_a_route_with_another_number_by_now_is_neither_moved_nor_removed(store):
    a, b = a_route("a"), a_route("b")
    add(store, a, b)
    for change in (partial(routes.remove_route, number=1), partial(routes.move_route, number=1, to=2)):
        with pytest.raises(errors.Conflict, match="The routes have changed in the meantime"):
            store.write(change, expected=b.log_name)
    assert names(store) == "ab"
    assert store.write(routes.remove_route, 1, expected=a.log_name) == a
