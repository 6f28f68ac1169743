"""The page of routes: their order, a test of an address, and changes by those who may make them."""

import html
import re

import boto3
import pytest

from tests.kit.browser import Browser
from tests.kit.peers.mail_sink import Sink
from tests.kit.routed import MESSAGE, hidden_fields, routed
from waypost import testing
from waypost.app.mail import routes

OTHER = "111111111111"
SECRET = "hunter2 hunter2 hunter2"


def matches(page) -> list[str]:
    """Return the addresses of the routes that can be changed, in their order."""
    return re.findall(r'aria-label="Move the route for (\S+) up"', page.html)


def test_a_route_is_added_used_and_removed(console):
    address = console.system.new_address("routed")
    with Sink() as sink:
        console.browser.get("/routes")
        added = console.browser.post("/routes/add", {"match": address, "to": sink.to, "keep": "on"})
        assert (added.status, added.location) == (303, "/console/routes")
        page = console.browser.get("/routes")
        assert re.search(rf"Route \d+ for {re.escape(address)} was added.", page.text)
        assert address in matches(page)
        console.system.deliver(MESSAGE, address)
        sink.wait_for(1)
    link = re.search(r'href="(/console/routes/remove\?[^"]+)">Remove</a>', page.html)[1]
    asked = console.browser.get(html.unescape(link))
    assert f"Mail for {address}" in asked.text
    assert "Remove 1 route" in asked.text
    assert address in matches(console.browser.get("/routes"))
    assert console.browser.post("/routes/remove", hidden_fields(asked)).status == 303
    assert address not in matches(console.browser.get("/routes"))


def test_a_secret_is_stored_but_never_shown(console):
    address = console.system.new_address("routed")
    fields = {"match": address, "to": "https://hook.example/in?key=topsecret", "secret": SECRET, "unchecked": "on"}
    console.browser.get("/routes")
    assert console.browser.post("/routes/add", fields).status == 303
    page = console.browser.get("/routes")
    assert "https://hook.example/in?…" in page.text
    assert "topsecret" not in page.html
    assert SECRET not in page.html
    stored = console.write(routes.list_routes)
    (number,) = (number for number, route in enumerate(stored, 1) if route.match == address)
    assert stored[number - 1].secret == SECRET
    fields = {"number": number, "name": stored[number - 1].log_name}
    assert console.browser.post("/routes/remove", fields).status == 303


def test_routes_are_moved(console):
    with routed(console, "inbox") as one, routed(console, "inbox") as other:
        page = console.browser.get("/routes")
        assert [match for match in matches(page) if match in (one, other)] == [one, other]
        stored = console.write(routes.list_routes)
        (number,) = (number for number, route in enumerate(stored, 1) if route.match == other)
        fields = {"number": number, "name": stored[number - 1].log_name, "way": "up"}
        assert console.browser.post("/routes/move", fields).status == 303
        assert [match for match in matches(console.browser.get("/routes")) if match in (one, other)] == [other, one]
        again = console.browser.post("/routes/move", fields)  # the number now belongs to another route
        assert again.status == 409
        assert "The routes have changed in the meantime." in again.text


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"match": "nobody", "to": "inbox"}, "'nobody' is not an email address"),
        ({"match": "a@example.com", "to": "gopher://x"}, "'gopher://x' is not a target"),
        ({"match": "a@example.com", "to": "smtp://a.example", "user": "me", "secret": SECRET}, "requires tls"),
        ({"match": "a@example.com", "to": "smtp://a.example", "connections": "many"}, "There must be a number"),
        ({"match": "a@example.com", "to": "smtp://a.example", "fault": "fire"}, "The fault must be one of"),
        ({"match": "a@example.com", "to": "smtp://a.example", "secret": "a\nb"}, "The secret must be one line"),
        ({"match": "a@example.com", "to": "smtp://127.0.0.1:1", "before": "99999"}, "cannot be reached"),
        ({"match": "a@example.com", "to": "smtp://127.0.0.1:1", "before": "9999", "unchecked": "on"}, "no route 9999"),
    ],
)
def test_a_wrong_route_is_refused_and_the_form_keeps_all_but_the_secret(console, fields, sentence):
    console.browser.get("/routes")
    page = console.browser.post("/routes/add", fields)
    assert page.status == 400
    assert sentence in page.text
    assert f'name="match" required value="{fields["match"]}"' in page.html
    assert SECRET not in page.html


def test_a_target_that_cannot_be_reached_is_added_only_on_request(console):
    address = console.system.new_address("routed")
    console.browser.get("/routes")
    fields = {"match": address, "to": "smtp://127.0.0.1:1"}
    page = console.browser.post("/routes/add", fields)
    assert page.status == 400
    assert "smtp://127.0.0.1:1 cannot be reached" in page.text
    assert "Add the route anyway" in page.text
    assert console.browser.post("/routes/add", fields | {"unchecked": "on"}).status == 303
    stored = console.write(routes.list_routes)
    (number,) = (number for number, route in enumerate(stored, 1) if route.match == address)
    fields = {"number": number, "name": stored[number - 1].log_name}
    assert console.browser.post("/routes/remove", fields).status == 303


def test_a_route_that_leads_back_to_this_server_is_refused(console):
    host, port = console.system.server.smtp
    console.browser.get("/routes")
    page = console.browser.post("/routes/add", {"match": "a@example.com", "to": f"smtp://{host}:{port}"})
    assert page.status == 400
    assert "leads back to this server" in page.text


def test_the_page_explains_what_happens_to_mail_for_an_address(console):
    alias, primary = console.system.linked_pair()
    page = console.browser.get("/routes", address=alias)
    assert "✓ accepted" in page.text
    assert f"/console/send?to={alias.replace('@', '%40')}" in page.html
    with routed(console, "smtp://127.0.0.1:1", fault=None) as address:
        page = console.browser.get("/routes", address=address)
        assert re.search(r"→ smtp://127.0.0.1:1 \( ?route \d+", page.text)
    assert primary
    unknown = console.browser.get("/routes", address="nobody@example.com")
    assert "✕ refused" in unknown.text
    assert "nobody@example.com is not an email address of account" in unknown.text
    assert console.browser.get("/routes", address="nobody").status == 400


def test_the_pages_that_explain_say_that_the_disk_is_too_full():
    with testing.server("--disk-reserve", "100000GiB") as server:
        connect = boto3.client("connect", **server.client_arguments)
        instance = connect.list_instances()["InstanceSummaryList"][0]["Id"]
        made = connect.create_email_address(InstanceId=instance, EmailAddress="support@example.com")
        browser = Browser(server.url)
        browser.sign_in(server.profile.key.id, server.profile.key.secret)
        path = f"/addresses/{connect.meta.region_name}/{instance}/{made['EmailAddressId']}"
        for page in (browser.get("/routes", address="support@example.com"), browser.get(path)):
            assert "The free disk space is below the reserve" in page.text


def test_routes_of_the_settings_file_come_first_and_are_not_changed(tmp_path):
    file = tmp_path / "waypost.toml"
    file.write_text('[[route]]\nmatch = "*@late.example"\nto = "smtp://127.0.0.1:1"\nfault = "tempfail"\n')
    with testing.server("--hostname", "mail.example", "--config", str(file)) as server:
        browser = Browser(server.url)
        browser.sign_in(server.profile.key.id, server.profile.key.secret)
        page = browser.get("/routes")
        assert "file *@late.example smtp://127.0.0.1:1" in page.text
        assert "! fault: tempfail" in page.text
        assert matches(page) == []
        refused = browser.post("/routes/add", {"match": "a@late.example", "to": "inbox"})
        assert refused.status == 400
        assert "The settings file has a route for *@late.example" in refused.text


def test_only_the_owners_account_sees_routes(console):
    theirs, _ = console.new_key(account=OTHER)
    browser = console.signed_in(theirs.id, theirs.secret)
    with routed(console, "inbox") as address:
        page = browser.get("/routes")
        assert page.status == 403
        assert "waypost:ListRoutes needs an access key of the server owner's account" in page.text
        assert address not in page.html
        assert browser.post("/routes/add", {"match": "*", "to": "inbox"}).status == 403


def test_a_key_without_change_routes_sees_routes_but_does_not_change_them(console):
    key, _ = console.new_key("waypost:ListRoutes")
    browser = console.signed_in(key.id, key.secret)
    with routed(console, "inbox") as address:
        page = browser.get("/routes")
        assert address in page.text.replace(" ", "")
        assert "does not allow waypost:ChangeRoutes" in page.text
        assert "/console/routes/" not in page.html
        for path in ("/routes/add", "/routes/move", "/routes/remove"):
            assert browser.post(path, {"match": "*", "to": "inbox", "number": "1"}).status == 403
        assert browser.get("/routes/remove", number="1").status == 403


def test_a_change_without_the_token_of_a_form_is_refused(console):
    console.browser.get("/routes")
    page = console.browser.post("/routes/add", {"match": "*", "to": "inbox"}, csrf="0" * 64)
    assert page.status == 403
