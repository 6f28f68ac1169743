"""Tests of the access key: its secret, its session token, its expiry and its policy."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from waypost.domain import errors
from waypost.domain.iam import access_keys, policies
from waypost.domain.iam.access_keys import AccessKey, digest_of_session_token

KEY = AccessKey("AKIAEXAMPLE", "s3cret", "000000000000")
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SESSION = replace(KEY, session_token_digest=digest_of_session_token("t0ken"), expires_at=NOW)


def test_only_the_exact_secret_is_accepted():
    assert KEY.has_secret("s3cret")
    assert not KEY.has_secret("S3cret")
    assert not KEY.has_secret("")
    assert not KEY.has_secret("\udcff")


def test_the_secret_is_never_shown():
    assert "s3cret" not in repr(KEY)


def test_the_repr_does_not_show_the_digest_of_the_session_token():
    assert "digest" not in repr(SESSION)
    assert SESSION.session_token_digest.hex() not in repr(SESSION)


SESSION_TOKENS = {
    "correct": (SESSION, "t0ken", True),
    "in another case": (SESSION, "T0ken", False),
    "cut": (SESSION, "t0ke", False),
    "empty": (SESSION, "", False),
    "missing": (SESSION, None, False),
    "not valid text": (SESSION, "\udcff", False),
    "the digest itself": (SESSION, SESSION.session_token_digest.hex(), False),
    "for a key without a token": (KEY, "t0ken", False),
    "empty, for a key without a token": (KEY, "", False),
    "missing, for a key without a token": (KEY, None, True),
}


@pytest.mark.parametrize(("key", "token", "right"), SESSION_TOKENS.values(), ids=SESSION_TOKENS)
def test_a_session_token_is_valid_only_for_its_own_key(key, token, right):
    assert key.has_session_token(token) is right


@pytest.mark.parametrize(("after", "expired"), [(-1, False), (0, True), (1, True)])
def test_a_temporary_key_expires_at_its_expiry_time(after, expired):
    assert SESSION.is_expired(NOW + timedelta(milliseconds=after)) is expired
    assert not KEY.is_expired(NOW + timedelta(days=100_000))


@pytest.mark.parametrize(("minutes", "expired"), [(-1, False), (0, False), (15, False), (16, True), (14_400, True)])
def test_a_temporary_key_from_the_future_is_expired_after_the_clock_is_corrected(minutes, expired):
    made_at = NOW + timedelta(minutes=minutes)
    session = replace(SESSION, created_at=made_at, expires_at=made_at + timedelta(hours=1))
    assert session.is_expired(NOW) is expired
    assert not replace(KEY, created_at=made_at).is_expired(NOW)


def test_a_key_may_do_everything_by_default():
    assert KEY.policy == policies.parse(policies.ALLOW_ALL)
    assert KEY.is_unrestricted


def test_a_key_with_a_document_that_does_not_parse_has_no_policy():
    # An older Waypost may have accepted a document that this version refuses.
    assert replace(KEY, document="{}").policy is None


LIMITED = {
    "a policy": replace(KEY, document='{"Statement":{"Effect":"Allow","Action":"connect:*","Resource":"*"}}'),
    "an expiry": SESSION,
    "inactive": replace(KEY, active=False),
}


@pytest.mark.parametrize("key", LIMITED.values(), ids=LIMITED)
def test_a_key_with_a_limit_is_not_unrestricted(key):
    assert not key.is_unrestricted


@pytest.mark.parametrize("user_name", ["root", "a", "x" * 64, "Ann_B+=,.@-9"])
def test_every_user_name_that_iam_allows_is_accepted(user_name):
    access_keys.check(replace(KEY, user_name=user_name))


INVALID = {
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
    "no policy": ({"document": ""}, "not valid JSON"),
    "policy with an unknown effect": (
        {"document": '{"Statement":{"Effect":"allow","Action":"*","Resource":"*"}}'},
        "Statement 1: Effect must be Allow or Deny",
    ),
}


@pytest.mark.parametrize(("changes", "message"), INVALID.values(), ids=INVALID)
def test_an_invalid_key_is_refused(changes, message):
    with pytest.raises(errors.Invalid, match=message):
        access_keys.check(replace(KEY, **changes))
