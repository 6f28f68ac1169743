"""The pages of the frame: keys, settings, errors and static files."""

import re

from waypost.config.sources import from_options
from waypost.server.assembly.console import settings_in_force


def test_the_first_page_leads_to_a_page(console):
    page = console.browser.get("/")
    assert (page.status, page.location) == (303, "/console/mail")


def test_the_page_of_keys_shows_the_owners_key_without_its_secret(console):
    key = console.system.server.profile.key
    page = console.browser.get("/keys")
    assert page.status == 200
    assert key.id in page.text
    assert key.secret not in page.html


def test_the_page_of_settings_shows_values_and_defaults(console):
    page = console.browser.get("/settings")
    assert page.status == 200
    assert "--hostname mail.example " in page.text
    assert "--smtp-connections 15000 default" in page.text


def test_the_page_of_settings_hides_secret_values():
    given = from_options(database="postgresql://ann:s3cret@db.example/x", workers="2", token_retention="90m")
    found = {one.name: one for one in settings_in_force(given)}
    assert found["database"].value == "(hidden)"
    assert "s3cret" not in repr(found)
    assert (found["token_retention"].value, found["token_retention"].is_default) == ("90m", False)
    assert (found["smtp"].value, found["smtp"].is_default) == ("127.0.0.1:1025", True)
    assert found["delivery.bounces"].value == "authenticated"


def test_each_file_of_a_page_is_there_and_may_be_kept_forever(console):
    page = console.browser.get("/keys")
    urls = set(re.findall(r'(?:href|src)="(/console/static/[^"]+)"', page.html))
    assert len(urls) == 4
    for url in urls:
        file = console.browser.get(url)
        assert file.status == 200
        assert "immutable" in file.headers["cache-control"]
        assert file.octets
        assert console.browser.get(re.sub("static/.", "static/!", url)).status == 404


def test_an_unknown_page_is_an_error_page(console):
    page = console.browser.get("/nothing")
    assert page.status == 404
    assert "This page does not exist." in page.text
    assert 'aria-label="Pages"' in page.html


def test_a_url_that_only_takes_a_form_says_so(console):
    assert console.browser.post("/keys").status == 405
    page = console.browser.get("/theme")
    assert page.status == 405
    assert "This URL only takes a form." in page.text
    assert 'aria-label="Pages"' in page.html
    visitor = console.new_browser().get("/theme")
    assert visitor.status == 405
    assert 'aria-label="Pages"' not in visitor.html
