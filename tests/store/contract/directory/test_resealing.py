"""Secrets are sealed with a new key on both databases, in steps, while servers with either key use the database."""

import pytest
from msgspec.structs import replace

from tests.kit.stores.both_stores import Handle
from tests.kit.values import NOW
from waypost.app.directory import access_keys, resealing
from waypost.app.mail import routes as stored_routes
from waypost.domain.mail.routes import Route
from waypost.host import sealing
from waypost.host.sealing import Keyring, SealKeys

OLD, NEW = b"o" * 32, b"n" * 32
ROUTE = Route(match="*@x.example", to="https://crm.example/in", secret="a secret of the webhook")


@pytest.fixture
def old(engine, database):
    """A store whose server has only the old key, with more access keys than one step seals, and a route."""
    handle = Handle(engine, database, Keyring(OLD))
    keys = [made() for _ in range(resealing.AT_ONCE + 3)]
    handle.write(lambda tx: [tx.add_access_key(key) for key in keys])
    handle.write(lambda tx: stored_routes.add_route(tx, ROUTE, before=None))
    handle.keys = {key.id: key.secret for key in keys}
    yield handle
    handle.close()


def made():
    return sealing.new_access_key(account="0" * 12, user_name="root", now=NOW)[0]


@pytest.fixture
def both(old, engine, database):
    """A store whose server has both keys, on the same database."""
    handle = Handle(engine, database, Keyring(SealKeys(NEW, OLD)))
    yield handle
    handle.close()


def secrets(handle):
    return {key.id: key.secret for key in handle.long_read(lambda tx: tx.access_keys())}


def routes(handle):
    return handle.read(lambda tx: tx.stored_routes(tx.routes_revision()))


def left(handle):
    return handle.long_read(lambda tx: tx.sealed_with_other_keys())


def reseal(handle, **options):
    return handle.run(resealing.reseal(handle.store, **options))


def test_all_secrets_are_sealed_with_the_new_key(old, both, engine, database):
    reported = []
    assert left(both) == len(old.keys) + 2  # with the route, and the value for checks
    assert reseal(both, report=reported.append) == len(old.keys) + 1
    assert reported == [resealing.AT_ONCE, len(old.keys), len(old.keys) + 1]
    assert left(both) == 0
    alone = Handle(engine, database, Keyring(NEW))
    assert secrets(alone) == old.keys
    assert routes(alone) == (ROUTE,)
    alone.close()
    with pytest.raises(sealing.SealBroken):
        Handle(engine, database, Keyring(OLD))


def test_the_id_of_the_deployment_remains(old, both):
    before = both.read(lambda tx: tx.deployment_id())
    reseal(both)
    assert both.read(lambda tx: tx.deployment_id()) == before
    assert len(before) == 64


def test_a_repetition_changes_nothing(old, both):
    reseal(both)
    sealed = both.rows("SELECT sealed_secret FROM access_keys ORDER BY id")
    assert reseal(both) == 0
    assert both.rows("SELECT sealed_secret FROM access_keys ORDER BY id") == sealed


def test_an_interrupted_run_is_continued(old, both):
    class Killed(Exception):
        pass

    def killed(count):
        raise Killed

    with pytest.raises(Killed):
        reseal(both, report=killed)
    assert 0 < left(both) < len(old.keys)
    assert secrets(both) == old.keys  # the secrets that are sealed with either key can be read
    assert reseal(both) == len(old.keys) + 1 - resealing.AT_ONCE
    assert left(both) == 0


def test_before_the_rotation_begins_new_secrets_are_sealed_with_the_old_key(old, both):
    key = made()
    both.write(lambda tx: access_keys.create(tx, key))
    assert secrets(old)[key.id] == key.secret


def test_after_the_rotation_has_begun_new_secrets_are_sealed_with_the_new_key_and_others_are_refused(old, both):
    both.write(lambda tx: tx.begin_reseal())
    key = made()
    before = left(both)
    both.write(lambda tx: access_keys.create(tx, key))
    both.write(lambda tx: stored_routes.add_route(tx, replace(ROUTE, match="*@y.example"), before=None))
    assert left(both) == before - 1  # a change of the routes seals all of them
    with pytest.raises(sealing.SealBroken, match="a master key that this server does not have"):
        old.write(lambda tx: access_keys.create(tx, made()))
    assert old.read(lambda tx: tx.access_key(next(iter(old.keys)))).secret  # its own secrets can still be read


def test_the_secrets_for_mail_are_sealed_again_too(old, both, engine, database):
    assert both.read(lambda tx: tx.mail_secrets()) is None
    old.write(lambda tx: tx.put_mail_secrets("text"))
    reseal(both)
    alone = Handle(engine, database, Keyring(NEW))
    assert alone.read(lambda tx: tx.mail_secrets()) == "text"
    alone.close()


def test_without_routes_there_is_nothing_to_seal(engine, database):
    handle = Handle(engine, database, Keyring(SealKeys(NEW, OLD)))
    assert reseal(handle) == 0
    handle.close()
