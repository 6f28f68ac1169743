"""What protects the console in a browser: header fields, CSRF tokens, and the checks of Host, Origin and the peer."""

import re
import sys

import pytest

from tests.kit.browser import Browser

POLICY = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
    "frame-src 'self'",
}
PATHS = ["/", "/keys", "/settings", "/sign-in", "/nothing", "/static/x/y", "/link/x", "/theme"]
FOREIGN = {
    "another site": {"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"},
    "another site, in an older browser": {"Origin": "http://evil.example"},
    "another port": {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:1"},
    "a sandboxed frame": {"Origin": "null"},
    "a foreign name that resolves to this server": {"Host": "evil.example:8025"},
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("is_signed_in", [True, False], ids=["signed in", "not signed in"])
def test_every_response_has_the_header_fields_of_a_safe_page(console, path, is_signed_in):
    browser = console.browser if is_signed_in else Browser(console.system.server.url, source="127.9.1.1")
    page = browser.get(path)
    assert set(page.headers["content-security-policy"].split("; ")) == POLICY
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cross-origin-opener-policy"] == "same-origin"
    assert page.headers["cross-origin-resource-policy"] == "same-origin"
    assert page.headers["cache-control"] == "no-store"
    assert not any(name.startswith("access-control-") for name in page.headers)


def test_no_page_has_inline_scripts_or_styles(console):
    """The policy would stop them."""
    for path in ("/keys", "/settings", "/nothing"):
        html = console.browser.get(path).html
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)|javascript:|hx-on|hx-vals=.js", html)


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
def test_requests_of_other_sites_are_refused(console, headers):
    page = console.browser.get("/keys", headers=headers)
    assert page.status == 403
    assert "The console refuses" in page.text
    page = console.browser.post("/theme", {"theme": "dark"}, headers=headers)
    assert page.status == 403


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost:1", "mail.example", "[::1]"])
def test_the_console_answers_under_its_own_names(console, name):
    assert console.browser.get("/keys", headers={"Host": name, "Origin": f"http://{name}"}).status == 200


@pytest.mark.parametrize("path", ["/theme", "/sign-out", "/sign-in"])
@pytest.mark.parametrize("token", ["none", "wrong", "of another session", "of a visitor", "of the server's other key"])
def test_a_form_without_the_token_of_the_session_is_refused(console, path, token):
    key = console.system.server.profile.key
    victim, other = (console.signed_in(key.id, key.secret) for _ in range(2))
    visitor = console.new_browser()
    visitor.get("/sign-in")
    other.get("/keys")
    given = {"none": "", "wrong": "0" * 64, "of another session": other.csrf, "of a visitor": visitor.csrf}
    page = victim.post(path, {"theme": "dark", "id": key.id, "secret": key.secret}, csrf=given.get(token, "ä"))
    assert page.status == 403
    assert "This form is too old" in page.text
    assert victim.get("/keys").status == 200


def test_a_form_of_an_own_page_is_accepted_although_it_has_no_referrer(console):
    """With `no-referrer`, browsers send `Origin: null` with a form, and also `Sec-Fetch-Site`."""
    console.browser.get("/keys")
    headers = {"Origin": "null", "Sec-Fetch-Site": "same-origin"}
    assert console.browser.post("/theme", {"theme": "dark"}, headers=headers).status == 303


def test_htmx_sends_the_token_in_a_header(console):
    console.browser.get("/keys")
    token = console.browser.csrf
    assert f'hx-headers=\'{{"X-CSRF-Token":"{token}"}}\'' in console.browser.get("/keys").html
    page = console.browser.post("/theme", {"theme": "dark"}, csrf="", headers={"X-CSRF-Token": token})
    assert page.status == 303


@pytest.mark.parametrize(
    "back",
    ["//evil.example", "https://evil.example", "/\\evil.example", "/\r\nX: y", "@evil.example", ".evil.example", "/ü"],
)
def test_no_form_redirects_to_another_site(console, back):
    console.browser.get("/keys")
    page = console.browser.post("/theme", {"theme": "light", "back": back})
    assert (page.status, page.location) == (303, "/console/")
    assert console.browser.post("/theme", {"theme": "light", "back": "/keys?a=b"}).location == "/console/keys?a=b"


def test_the_theme_is_in_a_cookie(console):
    key = console.system.server.profile.key
    browser = console.signed_in(key.id, key.secret)
    assert 'data-theme="' not in browser.get("/keys").html
    browser.post("/theme", {"theme": "dark"})
    assert '<html lang="en" data-theme="dark">' in browser.get("/keys").html
    assert browser.post("/theme", {"theme": '"><script>'}).status == 400
    browser.cookies["waypost_theme"] = "x"
    assert 'data-theme="' not in browser.get("/keys").html


def test_a_form_of_another_type_or_size_is_refused(console):
    console.browser.get("/keys")
    headers = {"Content-Type": "application/json"}
    assert console.browser.post("/theme", {"theme": "dark"}, headers=headers).status == 415
    assert console.browser.post("/theme", {"theme": "x" * 600_000}).status == 413
    assert console.browser.post("/theme", {f"f{n}": "x" for n in range(1_001)}).status == 400


def test_an_error_of_a_request_of_htmx_is_a_toast(console):
    page = console.browser.get("/nothing", headers={"HX-Request": "true"})
    assert page.status == 404
    assert page.headers["hx-retarget"] == "#toasts"
    assert page.html.startswith("<p")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has 127.0.0.0/8 and other addresses of this machine")
def test_every_loopback_address_may_see_the_console(console):
    assert Browser(console.system.server.url, source="127.200.0.1").get("/sign-in").status == 200
