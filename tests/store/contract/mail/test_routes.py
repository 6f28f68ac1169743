"""The routes that commands manage, on both stores: fields, order, revisions, and the encryption of the secrets."""

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
    """Return the use case that replaces all routes."""
    return lambda tx: tx.put_routes(given, revision=routes.revision(given))


def put(store, *given):
    store.write(putting(*given))


def stored(store):
    """Return the current routes."""
    return store.read(lambda tx: tx.stored_routes(tx.routes_revision()))


def test_a_store_without_routes_has_no_revision(store):
    assert store.read(lambda tx: tx.routes_revision()) == ""
    assert store.read(lambda tx: tx.stored_routes("")) == stored(store) == ()


@pytest.mark.parametrize("given", [(), (MAILDIR,), (FULL, HOOK, MAILDIR), (MAILDIR, FULL, HOOK), (HOOK, HOOK)], ids=len)
def test_routes_are_stored_in_order_with_all_their_fields(store, given):
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


def test_routes_of_the_same_revision_are_not_read_again(store):
    put(store, MAILDIR, HOOK)

    def twice(tx):
        first, second = (tx.stored_routes(tx.routes_revision()) for _ in range(2))
        return first is second

    assert store.read(twice)


def test_current_routes_are_never_returned_for_an_outdated_revision_that_is_restored(store):
    put(store, MAILDIR)
    old = store.read(lambda tx: tx.routes_revision())
    put(store, HOOK)
    assert store.read(lambda tx: tx.stored_routes(old)) in {(MAILDIR,), (HOOK,)}
    put(store, MAILDIR)
    assert store.read(lambda tx: tx.stored_routes(old)) == (MAILDIR,)


def test_routes_that_were_not_committed_are_not_cached(store):
    put(store, MAILDIR)

    def half(tx):
        putting(HOOK)(tx)
        assert tx.stored_routes(tx.routes_revision()) == (HOOK,)
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        store.write(half)
    assert store.write(lambda tx: tx.stored_routes(tx.routes_revision())) == stored(store) == (MAILDIR,)


def test_concurrent_changes_of_the_routes_leave_one_of_the_lists(store, race):
    lists = [(FULL, HOOK), (MAILDIR,), (HOOK, FULL, MAILDIR), ()] * 3
    assert kinds(race(*(putting(*given) for given in lists))) == {"done": 12}
    held = stored(store)
    assert held in lists
    assert store.read(lambda tx: tx.routes_revision()) == routes.revision(held)


def test_the_revision_is_returned_with_the_owners_even_if_there_are_none(store, instance):
    create(store, "p", "a")
    associate(store, "p", "a")

    def owners_and_revision(*keys):
        found = store.read(lambda tx: tx.owners(keys))
        return sorted(found.found), found.routes_revision

    assert owners_and_revision("a@example.com", "no@example.com") == (["a@example.com"], "")
    put(store, MAILDIR)
    revision = routes.revision([MAILDIR])
    assert owners_and_revision("a@example.com", "p@example.com") == (["a@example.com", "p@example.com"], revision)
    assert owners_and_revision("no@example.com") == owners_and_revision() == ([], revision)


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
    def test_the_secret_of_a_route_cannot_be_unsealed_after_the_route_was_tampered_with(self, sealed, change):
        put(sealed, HOOK)
        sealed.write(lambda tx: tx.connection.execute(f"UPDATE routes SET {change}"))
        with pytest.raises(sealing.SealBroken, match=r"\(route "):
            stored(sealed)
