"""The sessions of the console on both stores: they expire, get other tokens, and end with their access key."""

from datetime import timedelta
from functools import partial

import pytest

from tests.kit.values import NOW
from waypost.app.directory import access_keys, sessions
from waypost.domain import errors
from waypost.domain.iam.access_keys import AccessKey, digest_of_session_token
from waypost.domain.iam.sessions import LINK_LIFETIME, LONGEST, LONGEST_IDLE, NOTED_EVERY, OVERLAP, RENEWED_EVERY

KEY = AccessKey(id="AKIA1", secret="s", account="0" * 12, created_at=NOW)
SECOND = timedelta(seconds=1)


@pytest.fixture
def keys(store):
    temporary = AccessKey(
        id="ASIA1",
        secret="s",
        account="0" * 12,
        created_at=NOW,
        expires_at=NOW + timedelta(hours=1),
        session_token_digest=digest_of_session_token("t"),
    )
    for key in (KEY, temporary):
        store.write(access_keys.create, key)


@pytest.fixture
def opened(store, keys):
    return open_session(store)


def open_session(store, token="one", key_id=KEY.id, now=NOW):
    return store.write(
        partial(sessions.open_session, access_key_id=key_id, session_id=f"id of {token}", token=token, now=now)
    )


def find(store, token="one", now=NOW):
    return store.read(partial(sessions.find, token=token, now=now))


def use(store, until, token="one"):
    """Note a use often enough that the session does not end for lack of use."""
    for step in range(int((until - NOW) / (LONGEST_IDLE / 2)) + 1):
        session = find(store, token, NOW + step * LONGEST_IDLE / 2).session
        store.write(partial(sessions.note_use, session=session, now=NOW + step * LONGEST_IDLE / 2))


def test_a_session_is_found_by_its_token_on_every_node(store, opened):
    assert find(store) == find(store.another()) == opened
    assert opened.key == KEY
    for other in ("two", "", "ONE", "a\0", "\udcff"):
        assert find(store, other) is None


def test_the_token_of_a_session_is_not_in_the_store(store, opened):
    ((digest,),) = store.rows("SELECT token_digest FROM console_sessions")
    assert bytes(digest) == digest_of_session_token("one")


def test_a_session_ends_if_it_is_not_used(store, opened):
    assert find(store, now=NOW + LONGEST_IDLE - SECOND)
    assert find(store, now=NOW + LONGEST_IDLE) is None


def test_a_session_that_is_used_ends_after_its_longest_time(store, opened):
    use(store, NOW + LONGEST - SECOND)
    assert find(store, now=NOW + LONGEST - SECOND)
    assert find(store, now=NOW + LONGEST) is None


def test_a_session_that_was_opened_while_the_clock_was_ahead_is_over(store, opened):
    assert find(store, now=NOW - timedelta(minutes=14))
    assert find(store, now=NOW - timedelta(minutes=16)) is None


def test_a_session_of_a_temporary_key_ends_with_the_key(store, keys):
    assert open_session(store, key_id="ASIA1").session.expires_at == NOW + timedelta(hours=1)
    store.write(partial(sessions.note_use, session=find(store).session, now=NOW + timedelta(minutes=30)))
    assert find(store, now=NOW + timedelta(minutes=59))
    assert find(store, now=NOW + timedelta(minutes=60)) is None
    assert open_session(store, "two", key_id="ASIA1", now=NOW + timedelta(hours=2)) is None


def test_the_use_of_a_session_is_noted_from_time_to_time(opened):
    assert not opened.session.needs_note(NOW + NOTED_EVERY - SECOND)
    assert opened.session.needs_note(NOW + NOTED_EVERY)


def test_the_previous_token_of_a_session_is_valid_for_a_moment(store, opened):
    then = NOW + RENEWED_EVERY
    assert not opened.session.needs_token(then - SECOND)
    assert opened.session.needs_token(then)
    assert store.write(partial(sessions.renew, session=opened.session, token="two", now=then))
    assert find(store, "two", then).session.id == find(store, "one", then).session.id == opened.session.id
    assert find(store, "one", then + OVERLAP - SECOND)
    assert find(store, "one", then + OVERLAP) is None
    assert find(store, "two", then + OVERLAP)
    assert not find(store, "two", then).session.needs_token(then)


def test_of_two_requests_that_renew_a_session_one_does(store, opened):
    renew = partial(sessions.renew, session=opened.session, now=NOW)
    assert store.write(partial(renew, token="two"))
    assert not store.write(partial(renew, token="three"))
    assert find(store, "three") is None
    assert find(store, "two")


def test_a_session_ends_when_the_person_signs_out(store, opened):
    other = open_session(store, "two")
    store.write(partial(sessions.end, token="one"))
    store.write(partial(sessions.end, token="unknown"))
    assert find(store) is None
    assert find(store, "two") == other


@pytest.mark.parametrize("token", ["one", "two"])
def test_signing_out_with_either_token_ends_the_session(store, opened, token):
    store.write(partial(sessions.renew, session=opened.session, token="two", now=NOW))
    store.write(partial(sessions.end, token=token))
    assert find(store, "one") is None
    assert find(store, "two") is None


def test_the_sessions_of_a_key_end_when_it_is_deactivated_and_do_not_begin_again(store, opened):
    make_link(store)
    store.write(partial(access_keys.set_active, access_key_id=KEY.id, active=False))
    assert find(store) is None
    assert open_session(store, "two") is None
    store.write(partial(access_keys.set_active, access_key_id=KEY.id, active=True))
    assert find(store) is None
    assert use_link(store) is None
    assert open_session(store, "two")


def test_the_sessions_of_a_key_end_when_it_is_deleted(store, opened):
    store.write(partial(access_keys.delete, access_key_id=KEY.id))
    assert find(store) is None
    assert store.rows("SELECT 1 FROM console_sessions") == []


def test_sessions_and_links_that_are_over_are_removed(store, opened):
    open_session(store, "two", now=NOW + SECOND)
    make_link(store)
    store.write(partial(sessions.purge, now=NOW + LONGEST_IDLE + SECOND))
    assert store.rows("SELECT id FROM console_sessions") == [("id of two",)]
    assert store.rows("SELECT 1 FROM console_links") == []


def make_link(store, now=NOW):
    store.write(partial(sessions.make_link, access_key_id=KEY.id, token="link", now=now))


def use_link(store, token="three", now=NOW):
    return store.write(partial(sessions.open_with_link, link="link", session_id=f"id of {token}", token=token, now=now))


def test_a_link_signs_in_once(store, keys):
    make_link(store)
    assert use_link(store).key == KEY
    assert find(store, "three")
    assert use_link(store, "four") is None
    assert find(store, "four") is None


def test_of_two_requests_with_one_link_one_signs_in(store, keys, race):
    make_link(store)
    outcomes = race(
        *(partial(sessions.open_with_link, link="link", session_id=f"{n}", token=f"{n}", now=NOW) for n in range(4))
    )
    assert sum(outcome is not None for outcome in outcomes) == 1


@pytest.mark.parametrize("after", [LINK_LIFETIME, -SECOND])
def test_a_link_is_valid_for_ten_minutes(store, keys, after):
    make_link(store)
    assert use_link(store, now=NOW + after) is None
    assert use_link(store) is None  # the attempt has used it


def test_a_link_for_an_unknown_key_is_refused(store):
    with pytest.raises(errors.NotFound):
        make_link(store)
