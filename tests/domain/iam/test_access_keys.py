"""The access key: it keeps its secret, it ends, and it has a policy that can be read."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from waypost.domain import errors
from waypost.domain.iam import access_keys, policies
from waypost.domain.iam.access_keys import AccessKey, digest_of_session_token

KEY = AccessKey("AKIAEXAMPLE", "s3cret", "000000000000")
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SESSION = replace(KEY, session_token_digest=digest_of_session_token("t0ken"), expires_at=NOW)


def test_only_the_secret_is_the_secret():
    assert KEY.has_secret("s3cret")
    assert not KEY.has_secret("S3cret")
    assert not KEY.has_secret("")
    assert not KEY.has_secret("\udcff")


def test_the_secret_is_never_shown():
    assert "s3cret" not in repr(KEY)


def test_neither_a_session_token_nor_what_is_kept_of_it_is_shown():
    assert "digest" not in repr(SESSION)
    assert SESSION.session_token_digest.hex() not in repr(SESSION)


SESSION_TOKENS = {
    "right": (SESSION, "t0ken", True),
    "other case": (SESSION, "T0ken", False),
    "beginning": (SESSION, "t0ke", False),
    "empty": (SESSION, "", False),
    "missing": (SESSION, None, False),
    "no text": (SESSION, "\udcff", False),
    "the digest itself": (SESSION, SESSION.session_token_digest.hex(), False),
    "of a key that has none": (KEY, "t0ken", False),
    "empty of a key that has none": (KEY, "", False),
    "none of a key that has none": (KEY, None, True),
}


@pytest.mark.parametrize(("key", "token", "right"), SESSION_TOKENS.values(), ids=SESSION_TOKENS)
def test_a_session_token_is_right_only_for_its_own_key(key, token, right):
    assert key.has_session_token(token) is right


@pytest.mark.parametrize(("after", "expired"), [(-1, False), (0, True), (1, True)])
def test_a_session_ends_at_its_end(after, expired):
    assert SESSION.is_expired(NOW + timedelta(milliseconds=after)) is expired
    assert not KEY.is_expired(NOW + timedelta(days=100_000))


@pytest.mark.parametrize(("minutes", "expired"), [(-1, False), (0, False), (15, False), (16, True), (14_400, True)])
def test_a_session_that_was_made_while_the_clock_was_ahead_has_ended_when_it_goes_back(minutes, expired):
    made_at = NOW + timedelta(minutes=minutes)
    session = replace(SESSION, created_at=made_at, expires_at=made_at + timedelta(hours=1))
    assert session.is_expired(NOW) is expired
    assert not replace(KEY, created_at=made_at).is_expired(NOW)


def test_a_key_may_do_everything_unless_it_is_said_what():
    assert KEY.policy == policies.parse(policies.ALLOW_ALL)
    assert KEY.is_unrestricted


def test_a_document_that_cannot_be_read_is_no_policy():
    # As one would be that an older Waypost took and this one does not.
    assert replace(KEY, document="{}").policy is None


LIMITED = {
    "a policy": replace(KEY, document='{"Statement":{"Effect":"Allow","Action":"connect:*","Resource":"*"}}'),
    "an end": SESSION,
    "inactive": replace(KEY, active=False),
}


@pytest.mark.parametrize("key", LIMITED.values(), ids=LIMITED)
def test_a_key_with_a_limit_is_not_unrestricted(key):
    assert not key.is_unrestricted


@pytest.mark.parametrize("user_name", ["root", "a", "x" * 64, "Ann_B+=,.@-9"])
def test_a_user_name_is_as_iam_has_it(user_name):
    access_keys.check(replace(KEY, user_name=user_name))


IMPOSSIBLE = {
    "short account": ({"account": "12345"}, "twelve digits"),
    "long account": ({"account": "1" * 13}, "twelve digits"),
    "account of letters": ({"account": "a" * 12}, "twelve digits"),
    "account of other digits": ({"account": "١" * 12}, "twelve digits"),
    "account with a line end": ({"account": "1" * 12 + "\n"}, "twelve digits"),
    "no user name": ({"user_name": ""}, "user name"),
    "long user name": ({"user_name": "x" * 65}, "user name"),
    "user name with a slash": ({"user_name": "a/b"}, "user name"),
    "user name with a colon": ({"user_name": "a:b"}, "user name"),
    "user name beyond ascii": ({"user_name": "Jürgen"}, "user name"),
    "user name with a line end": ({"user_name": "a\n"}, "user name"),
    "no policy": ({"document": ""}, "no JSON"),
    "policy with an unknown effect": (
        {"document": '{"Statement":{"Effect":"allow","Action":"*","Resource":"*"}}'},
        "Statement 1: Effect must be Allow or Deny",
    ),
}


@pytest.mark.parametrize(("changes", "said"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_a_key_that_cannot_be_is_refused(changes, said):
    with pytest.raises(errors.Invalid, match=said):
        access_keys.check(replace(KEY, **changes))
