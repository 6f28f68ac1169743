"""What a person sees and may do follows the policy of the access key, as it is at the moment of the request."""

import html
from functools import partial

import pytest

from waypost.app.directory import access_keys

OWNER, OTHER = "000000000000", "111111111111"


def test_a_view_that_the_policy_does_not_allow_names_the_action(console):
    key, _ = console.new_key("waypost:Inspect")
    page = console.signed_in(key.id, key.secret).get("/keys")
    assert page.status == 403
    assert f"The policy of access key {key.id} does not allow waypost:ListAccessKeys." in page.text
    assert console.system.server.profile.key.id not in page.text
    assert 'action="/console/sign-out"' in page.html  # the person can still sign out


def test_a_view_that_the_policy_allows_is_shown(console):
    key, _ = console.new_key("waypost:ListAccessKeys")
    browser = console.signed_in(key.id, key.secret)
    assert browser.get("/keys").status == 200
    assert browser.get("/settings").status == 403


@pytest.mark.parametrize(
    ("condition", "status"),
    [({"IpAddress": {"aws:SourceIp": "127.0.0.1"}}, 200), ({"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, 403)],
    ids=["the address", "another address"],
)
def test_conditions_of_a_policy_apply(console, condition, status):
    key, _ = console.new_key(Condition=condition)
    assert console.signed_in(key.id, key.secret).get("/keys").status == status


def test_a_person_sees_only_the_keys_of_the_own_account(console):
    theirs, _ = console.new_key(account=OTHER, name="theirs")
    mine = console.system.server.profile.key
    page = console.signed_in(theirs.id, theirs.secret).get("/keys")
    assert page.status == 200
    assert theirs.id in page.text
    assert mine.id not in page.html
    assert theirs.id not in console.browser.get("/keys").html


def test_only_the_owners_account_sees_the_settings(console):
    theirs, _ = console.new_key(account=OTHER)
    page = console.signed_in(theirs.id, theirs.secret).get("/settings")
    assert page.status == 403
    assert f"waypost:ReadSettings needs an access key of the server owner's account {OWNER}." in page.text
    assert "--hostname" not in page.text


def test_a_policy_is_shown_and_escaped(console):
    hostile = "<script>alert(1)</script>"
    key, _ = console.new_key(Condition={"StringEquals": {"aws:UserAgent": hostile}}, name="bob")
    page = console.browser.get("/keys")
    assert hostile in html.unescape(page.html)
    assert "<script>alert" not in page.html
    console.write(partial(access_keys.delete, access_key_id=key.id))
