"""Access keys on both stores: all fields, the order, and the encryption of the secrets."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from tests.kit.stores.both_stores import Handle
from tests.kit.values import NOW
from waypost.app.directory import access_keys
from waypost.domain import errors
from waypost.domain.iam import policies
from waypost.domain.iam.access_keys import AccessKey
from waypost.host import sealing

MASTER_KEY, OTHER_MASTER_KEY = b"m" * 32, b"n" * 32
DENY_ALL = '{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}'


def a_key(key_id="AKIA1", **fields):
    return AccessKey(**{"id": key_id, "secret": f"secret of {key_id}", "account": "0" * 12, "created_at": NOW} | fields)


def a_session(key_id, expires_at, **fields):
    return a_key(key_id, expires_at=expires_at, session_token_digest=bytes(range(32)), **fields)


def add(store, *keys):
    for key in keys:
        store.write(access_keys.create, key)


def find(store, key_id):
    return store.read(access_keys.find, key_id)


def listed(store):
    return [key.id for key in store.long_read(lambda tx: tx.access_keys())]


@pytest.mark.parametrize(
    "key",
    [
        a_key(),
        a_key(active=False, user_name="Ann+=,.@-_1", document=DENY_ALL, secret="ä'\"\\%😀"),
        a_session("ASIA1", NOW + timedelta(milliseconds=1)),
        a_key(created_at=datetime(1970, 1, 1, tzinfo=UTC)),
        a_key("!" + "~" * 127),
    ],
    ids=["minimal", "all fields", "temporary", "created in 1970", "long id"],
)
def test_a_key_is_found_as_created(store, key):
    add(store, key)
    assert find(store, key.id) == find(store.another(), key.id) == key
    assert store.long_read(lambda tx: tx.access_keys()) == [key]
    assert find(store, key.id).secret == key.secret


@pytest.mark.parametrize("given", ["AKIA2", "akia1", "", "AKIA1 ", "a\0", "\ud800", "a" * 129, "ä", "' OR '1'='1"])
def test_an_unknown_key_id_is_not_found(store, given):
    add(store, a_key())
    assert find(store, given) is None
    for attempt in (
        lambda tx: access_keys.delete(tx, given),
        lambda tx: access_keys.set_active(tx, given, active=False),
    ):
        with pytest.raises(errors.NotFound, match="There is no access key"):
            store.write(attempt)
    assert listed(store) == ["AKIA1"]


@pytest.mark.parametrize("wrong", [{"account": "1"}, {"user_name": ""}, {"user_name": "ä"}, {"document": "{"}])
def test_an_invalid_key_is_refused(store, wrong):
    with pytest.raises(errors.Invalid):
        add(store, a_key(**wrong))
    assert listed(store) == []


def test_the_id_of_a_key_is_unique(store, engine):
    add(store, a_key())
    with pytest.raises(engine.refusal):
        add(store, a_key(secret="another"))
    assert find(store, "AKIA1").secret == "secret of AKIA1"


def test_a_temporary_key_needs_both_an_expiry_time_and_a_session_token(store, engine):
    for wrong in (a_key(expires_at=NOW), a_key(session_token_digest=b"d")):
        with pytest.raises(engine.refusal):
            add(store, wrong)
    assert listed(store) == []


def test_keys_are_listed_oldest_first_and_then_by_id(store):
    earlier, later = NOW - timedelta(milliseconds=1), NOW + timedelta(days=1)
    long_ago = datetime(1969, 12, 31, 23, 59, 59, 999000, UTC)
    times = {"b": NOW, "Z": NOW, "a": NOW, "_": NOW, "c": earlier, "0": later, "d": long_ago}
    add(store, *(a_key(key_id, created_at=moment) for key_id, moment in times.items()))
    assert listed(store) == ["d", "c", "Z", "_", "a", "b", "0"]


def test_a_key_is_deactivated_activated_and_deleted(store):
    add(store, a_key("AKIA1"), a_key("AKIA2"))
    other = store.another()
    for active in (False, False, True):
        store.write(access_keys.set_active, "AKIA1", active=active)
        assert (find(store, "AKIA1").active, find(other, "AKIA1").active) == (active, active)
        assert find(other, "AKIA2").active
    store.write(access_keys.delete, "AKIA1")
    assert (find(store, "AKIA1"), find(other, "AKIA1")) == (None, None)
    add(store, a_key("AKIA1", secret="new"))
    assert find(other, "AKIA1").secret == find(store, "AKIA1").secret == "new"


def test_temporary_keys_are_stored_for_a_day_after_they_expire(store):
    end = NOW - access_keys.KEPT_AFTER_EXPIRY
    times = {"gone": end - timedelta(milliseconds=1), "just": end, "later": NOW}
    add(store, a_key("permanent"), *(a_session(key_id, moment) for key_id, moment in times.items()))
    store.write(access_keys.purge, now=NOW)
    assert sorted(listed(store)) == ["just", "later", "permanent"]
    store.write(access_keys.purge, now=NOW + timedelta(days=365))
    assert listed(store) == ["permanent"]


def test_a_credentials_file_is_adopted_once(store):
    first = [a_key("AKIA1", created_at=datetime(1970, 1, 1, tzinfo=UTC)), a_key("AKIA2")]
    store.write(access_keys.adopt, first, now=NOW + timedelta(hours=1))
    assert find(store, "AKIA1") == replace(first[0], created_at=NOW + timedelta(hours=1))
    store.write(access_keys.delete, "AKIA1")
    store.another().write(access_keys.adopt, [*first, a_key("AKIA3")], now=NOW)
    assert listed(store) == ["AKIA2"]


def test_a_credentials_file_with_an_invalid_key_is_not_adopted(store):
    with pytest.raises(errors.Invalid):
        store.write(access_keys.adopt, [a_key("AKIA1"), a_key("AKIA2", account="x")], now=NOW)
    assert listed(store) == []
    store.write(access_keys.adopt, [a_key("AKIA1")], now=NOW)
    assert listed(store) == ["AKIA1"]


def test_the_owners_key_is_the_oldest_unrestricted_key(store):
    unfit = [
        a_key("inactive", active=False),
        a_key("restricted", document=DENY_ALL),
        a_key("another-s", account="1" * 12),
        a_key("a-user-s", user_name="ann"),
        a_session("session", NOW + timedelta(days=9)),
    ]
    add(store, *unfit)
    new = a_key("new", created_at=NOW + timedelta(hours=1))
    assert store.write(access_keys.owners_key, new) == new
    assert store.write(access_keys.owners_key, a_key("newer")) == new
    add(store, a_key("older"))
    assert store.write(access_keys.owners_key, a_key("newer")).id == "older"
    assert find(store, "newer") is None


class TestSealed:
    @pytest.fixture
    def sealed(self, engine, database):
        handle = Handle(engine, database, sealing.Keyring(MASTER_KEY))
        yield handle
        handle.close()

    def test_no_secret_is_in_the_database(self, sealed, engine, database):
        key, _ = sealing.new_access_key(account="0" * 12, user_name="root", now=NOW)
        session, token = sealing.new_access_key(
            account="0" * 12, user_name="root", now=NOW, lifetime=timedelta(hours=1)
        )
        add(sealed, key, session)
        assert [find(sealed, each.id) for each in (key, session)] == [key, session]
        ((octets,),) = sealed.rows(f"SELECT sealed_secret FROM access_keys WHERE id = '{key.id}'")
        assert sealing.Keyring(MASTER_KEY).unseal(bytes(octets), key.id) == key.secret

        kept = engine.dump(database)
        assert key.id.encode() in kept
        for secret in (key.secret, session.secret, token):
            assert secret.encode() not in kept
            assert secret.encode().hex().encode() not in kept

    def test_a_sealed_secret_cannot_be_moved_to_another_key(self, sealed):
        add(sealed, a_key("AKIA1"), a_key("AKIA2"))
        sealed.write(
            lambda tx: tx.connection.execute(
                "UPDATE access_keys SET sealed_secret ="
                " (SELECT sealed_secret FROM access_keys WHERE id = 'AKIA1') WHERE id = 'AKIA2'"
            )
        )
        assert find(sealed, "AKIA1").secret == "secret of AKIA1"
        with pytest.raises(sealing.SealBroken, match="another master key"):
            find(sealed, "AKIA2")

    def test_a_database_cannot_be_opened_with_another_master_key(self, sealed, engine, database):
        add(sealed, a_key())
        with pytest.raises(sealing.SealBroken, match="another master key"):
            Handle(engine, database, sealing.Keyring(OTHER_MASTER_KEY))
        again = Handle(engine, database, sealing.Keyring(MASTER_KEY))
        assert find(again, "AKIA1").secret == "secret of AKIA1"
        again.close()

    def test_a_policy_that_allows_everything_is_stored_exactly(self, sealed):
        add(sealed, a_key())
        assert find(sealed, "AKIA1").document == policies.ALLOW_ALL


CHANGES = {
    "deactivated": (lambda tx: access_keys.set_active(tx, "AKIA1", active=False), a_key(active=False)),
    "deleted": (lambda tx: access_keys.delete(tx, "AKIA1"), None),
    "with another policy": (
        lambda tx: (access_keys.delete(tx, "AKIA1"), access_keys.create(tx, a_key(document=DENY_ALL))),
        a_key(document=DENY_ALL),
    ),
}


@pytest.mark.parametrize("is_another", [False, True], ids=["by this server", "by another server"])
@pytest.mark.parametrize(("change", "after"), CHANGES.values(), ids=CHANGES)
def test_the_next_read_finds_a_change_of_a_key(store, change, after, is_another):
    add(store, a_key(), a_key("AKIA2"))
    other = store.another()
    for reading in (store, other, store):
        assert find(reading, "AKIA1") == a_key()
    (other if is_another else store).write(change)
    for reading in (store, other, store):
        assert find(reading, "AKIA1") == after
        assert find(reading, "AKIA2") == a_key("AKIA2")


def test_a_key_that_is_added_after_it_was_not_found_is_found(store):
    assert find(store, "AKIA1") is None
    add(store.another(), a_key())
    assert find(store, "AKIA1") == a_key()


def test_a_change_of_a_key_that_is_rolled_back_is_not_found(store):
    def change(tx):
        access_keys.set_active(tx, "AKIA1", active=False)
        assert not access_keys.find(tx, "AKIA1").active
        raise errors.Invalid("on purpose")

    add(store, a_key())
    for _ in range(2):
        with pytest.raises(errors.Invalid):
            store.write(change)
        assert find(store, "AKIA1") == a_key()
        assert store.write(access_keys.find, "AKIA1") == a_key()
