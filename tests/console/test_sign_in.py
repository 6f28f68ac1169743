"""Signing in to the console with an access key or a link, and signing out."""

import html
import re
import secrets
from datetime import timedelta
from functools import partial

import pytest

from tests.kit.browser import Browser
from waypost.app.directory import access_keys, sessions
from waypost.console.views.signing_in import USED, WRONG
from waypost.host.clock import now

COOKIE = "waypost_session"


def link(console, key=None):
    token = secrets.token_urlsafe(32)
    key_id = (key or console.system.server.profile.key).id
    console.write(partial(sessions.make_link, access_key_id=key_id, token=token, now=now()))
    return token


@pytest.mark.parametrize("path", ["/", "/keys", "/settings"])
def test_a_person_who_has_not_signed_in_is_sent_to_the_form(console, path):
    browser = console.new_browser()
    page = browser.get(path)
    assert (page.status, page.location.partition("?")[0]) == (303, "/console/sign-in")
    assert browser.get("/sign-in").status == 200


def page_after(form):
    """Return the path in the sign-in form, which is the last form of the page."""
    return html.unescape(re.findall(r'name="back" value="([^"]*)"', form.html)[-1])


def test_after_the_sign_in_a_person_sees_the_page_that_they_asked_for(console):
    key = console.system.server.profile.key
    browser = console.new_browser()
    asked = browser.get("/keys", q="a b&c=ä").location
    form = browser.get(asked)
    page = browser.post("/sign-in", {"id": key.id, "secret": key.secret, "back": page_after(form)})
    assert page.location == "/console/keys?q=a+b%26c%3D%C3%A4"


@pytest.mark.parametrize(
    "back", ["//evil.example", "https://evil.example", "@evil.example", "/\\evil.example", "/\r\nX: y"]
)
def test_the_form_does_not_send_a_person_to_another_site(console, back):
    key = console.system.server.profile.key
    browser = console.new_browser()
    assert page_after(browser.get("/sign-in", back=back)) == "/"
    page = browser.post("/sign-in", {"id": key.id, "secret": key.secret, "back": back})
    assert page.location == "/console/"


def test_htmx_loads_the_whole_form_if_the_session_has_ended(console):
    page = console.new_browser().get("/keys", headers={"HX-Request": "true"})
    assert (page.status, page.headers["hx-redirect"]) == (401, "/console/sign-in")


def test_the_cookie_of_a_session_is_for_the_console_alone(console):
    key = console.system.server.profile.key
    page = console.new_browser().sign_in(key.id, key.secret)
    (cookie,) = (each for each in page.set_cookies if each.startswith(f"{COOKIE}="))
    value, *attributes = cookie.split("; ")
    assert len(value.partition("=")[2]) == 43  # 256 bits in base64url
    assert {each.lower() for each in attributes} == {"httponly", "samesite=strict", "path=/console/"}


@pytest.mark.parametrize("wrong", ["id", "secret", "empty", "odd id", "inactive key", "session token"])
def test_all_wrong_credentials_have_the_same_answer(console, wrong):
    key = console.system.server.profile.key
    browser = Browser(console.system.server.url, source="127.9.0.1")
    given = {
        "id": ("AKIAUNKNOWN", key.secret),
        "secret": (key.id, "wrong"),
        "empty": ("", ""),
        "odd id": ("ä\0'", "😀"),
        "session token": (key.id, key.secret, "token"),
    }
    if wrong == "inactive key":
        other, _ = console.new_key()
        console.write(partial(access_keys.set_active, access_key_id=other.id, active=False))
        given[wrong] = (other.id, other.secret)
    page = browser.sign_in(*given[wrong])
    assert page.status == 403
    assert WRONG in page.text
    assert COOKIE not in browser.cookies
    assert browser.get("/keys").status == 303


def test_a_temporary_key_signs_in_with_its_session_token(console):
    key, session_token = console.new_key(lifetime=timedelta(hours=1))
    assert console.signed_in(key.id, key.secret, session_token).get("/keys").status == 200
    for wrong in ("", "wrong"):
        browser = Browser(console.system.server.url, source="127.9.0.2")
        assert browser.sign_in(key.id, key.secret, wrong).status == 403


def test_a_token_that_somebody_else_has_chosen_is_never_used(console):
    """A session cannot be fixed: signing in always makes a new token, and ends the session before."""
    key = console.system.server.profile.key
    browser = console.new_browser()
    browser.cookies[COOKIE] = "chosen-by-somebody-else"
    assert browser.get("/keys").status == 303
    assert browser.sign_in(key.id, key.secret).status == 303
    first = browser.cookies[COOKIE]
    assert first != "chosen-by-somebody-else"

    assert browser.sign_in(key.id, key.secret).status == 303
    assert browser.cookies[COOKIE] != first
    thief = console.new_browser()
    thief.cookies[COOKIE] = first
    assert thief.get("/keys").status == 303


def test_signing_out_ends_the_session(console):
    key = console.system.server.profile.key
    browser = console.signed_in(key.id, key.secret)
    token = browser.cookies[COOKIE]
    assert browser.get("/keys").status == 200
    page = browser.post("/sign-out")
    assert (page.status, page.location) == (303, "/console/sign-in")
    assert COOKIE not in browser.cookies
    browser.cookies[COOKIE] = token
    assert browser.get("/keys").status == 303


@pytest.mark.parametrize(
    "ending",
    [partial(access_keys.set_active, active=False), access_keys.delete],
    ids=["deactivated", "deleted"],
)
def test_a_session_ends_with_its_key(console, ending):
    key, _ = console.new_key()
    browser = console.signed_in(key.id, key.secret)
    assert browser.get("/keys").status == 200
    console.write(partial(ending, access_key_id=key.id))
    assert browser.get("/keys").status == 303


def test_a_link_signs_in_once(console):
    token = link(console)
    browser = console.new_browser()
    page = browser.get(f"/link/{token}")
    assert (page.status, page.location) == (303, "/console/")
    assert browser.get("/keys").status == 200

    other = Browser(console.system.server.url, source="127.9.0.3")
    page = other.get(f"/link/{token}")
    assert page.status == 403
    assert USED in page.text
    assert COOKIE not in other.cookies


def test_a_program_that_looks_at_a_link_does_not_use_it_up(console):
    token = link(console)
    assert console.new_browser()._send("HEAD", f"/console/link/{token}", None, {}).status == 405
    assert console.new_browser().get(f"/link/{token}").status == 303


def test_a_link_of_another_site_is_not_followed(console):
    token = link(console)
    page = console.new_browser().get(f"/link/{token}", headers={"Sec-Fetch-Site": "cross-site"})
    assert page.status == 403
    assert console.new_browser().get(f"/link/{token}").status == 303


def test_the_log_has_no_token_and_no_secret(console):
    token = link(console)
    console.new_browser().get(f"/link/{token}")
    log = console.system.server.log.read_text(encoding="utf-8")
    assert token not in log
    assert console.browser.cookies[COOKIE] not in log
