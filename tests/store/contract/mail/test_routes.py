"""The routes that were set by command, on both stores: whole, in order, all of one moment, their secrets sealed."""

import pytest

from tests.kit.stores.both_stores import Handle
from tests.kit.stores.calls import associate, create, kinds
from waypost.domain.mail import routes
from waypost.domain.mail.routes import Fault, LineEnds, Route, Tls
from waypost.host import sealing

SECRET = "a password that nobody may read"
HOOK = Route(match="*@example.com", to="https://example.net/hook", secret=SECRET)
FULL = Route(
    match="x@example.com",
    to="smtp://mail.example.net:587",
    keep=True,
    tls=Tls.VERIFY,
    user="ünn",
    secret=SECRET,
    rewrite_sender=False,
    allow_private=True,
    connections=3,
    fault=Fault.DROP_AFTER_DATA,
)
MAILDIR = Route(match="*", to="maildir:/var/mail/all", line_ends=LineEnds.AS_RECEIVED)


def putting(*given):
    """The use case that replaces all routes."""
    return lambda tx: tx.put_routes(given, revision=routes.revision(given))


def put(store, *given):
    store.write(putting(*given))


def stored(store):
    """The routes that hold now."""
    return store.read(lambda tx: tx.stored_routes(tx.routes_revision()))


def test_without_routes_there_is_no_revision(store):
    assert store.read(lambda tx: tx.routes_revision()) == ""
    assert store.read(lambda tx: tx.stored_routes("")) == stored(store) == ()


@pytest.mark.parametrize("given", [(), (MAILDIR,), (FULL, HOOK, MAILDIR), (MAILDIR, FULL, HOOK), (HOOK, HOOK)], ids=len)
def test_routes_are_found_as_they_were_set_in_their_order(store, given):
    put(store, *given)
    assert stored(store) == stored(store.another()) == given
    assert [route.secret for route in stored(store)] == [route.secret for route in given]
    assert store.long_read(lambda tx: tx.routes_revision()) == routes.revision(given)


def test_routes_are_replaced_as_a_whole(store):
    other = store.another()
    for given in ((FULL, HOOK), (MAILDIR,), (FULL, HOOK), (), (MAILDIR, HOOK)):
        put(store, *given)
        assert stored(store) == stored(other) == given
        assert store.write(lambda tx: tx.stored_routes(tx.routes_revision())) == given


def test_routes_that_are_asked_for_again_are_not_read_again(store):
    put(store, MAILDIR, HOOK)

    def twice(tx):
        first, second = (tx.stored_routes(tx.routes_revision()) for _ in range(2))
        return first is second

    assert store.read(twice)


def test_routes_of_now_are_never_taken_for_those_of_a_revision_that_holds_no_more(store):
    put(store, MAILDIR)
    old = store.read(lambda tx: tx.routes_revision())
    put(store, HOOK)
    assert store.read(lambda tx: tx.stored_routes(old)) in {(MAILDIR,), (HOOK,)}
    put(store, MAILDIR)
    assert store.read(lambda tx: tx.stored_routes(old)) == (MAILDIR,)


def test_routes_that_were_never_committed_are_not_there(store):
    put(store, MAILDIR)

    def half(tx):
        putting(HOOK)(tx)
        assert tx.stored_routes(tx.routes_revision()) == (HOOK,)
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        store.write(half)
    assert store.write(lambda tx: tx.stored_routes(tx.routes_revision())) == stored(store) == (MAILDIR,)


def test_of_routes_that_are_set_at_once_one_list_holds(store, race):
    lists = [(FULL, HOOK), (MAILDIR,), (HOOK, FULL, MAILDIR), ()] * 3
    assert kinds(race(*(putting(*given) for given in lists))) == {"done": 12}
    held = stored(store)
    assert held in lists
    assert store.read(lambda tx: tx.routes_revision()) == routes.revision(held)


def test_owners_are_told_with_the_revision_also_where_there_are_none(store, instance):
    create(store, "p", "a")
    associate(store, "p", "a")

    def told(*keys):
        found = store.read(lambda tx: tx.owners(keys))
        return sorted(found.found), found.routes_revision

    assert told("a@example.com", "no@example.com") == (["a@example.com"], "")
    put(store, MAILDIR)
    revision = routes.revision([MAILDIR])
    assert told("a@example.com", "p@example.com") == (["a@example.com", "p@example.com"], revision)
    assert told("no@example.com") == told() == ([], revision)


class TestSealed:
    @pytest.fixture
    def sealed(self, engine, database):
        handle = Handle(engine, database, sealing.Keyring(b"m" * 32))
        yield handle
        handle.close()

    def test_no_secret_is_in_the_database(self, sealed, engine, database):
        put(sealed, FULL, HOOK, MAILDIR)
        put(sealed, HOOK, FULL)
        assert stored(sealed) == (HOOK, FULL)
        kept = engine.dump(database)
        assert FULL.to.encode() in kept
        for form in (SECRET.encode(), SECRET.encode().hex().encode()):
            assert form not in kept

    @pytest.mark.parametrize("change", ["target = 'https://example.org/'", "match = '*'", "user_name = 'eve'"])
    def test_a_secret_does_not_go_where_a_route_was_made_to_lead_by_somebody_else(self, sealed, change):
        put(sealed, HOOK)
        sealed.write(lambda tx: tx.connection.execute(f"UPDATE routes SET {change}"))
        with pytest.raises(sealing.SealBroken, match=r"\(route "):
            stored(sealed)
