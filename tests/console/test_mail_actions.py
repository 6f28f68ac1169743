"""The actions on one message: redrive its dead letters, and forward it again."""

import re

import pytest

from tests.console.conftest import Console
from tests.console.test_mail import OTHER, ids, mail
from tests.kit.browser import Browser
from tests.kit.patience import wait_until
from tests.kit.servers.failing_deliveries import late_system
from waypost.app.ports import Flow
from waypost.console.views.mail import sidebar


@pytest.fixture(scope="module")
def late(tmp_path_factory):
    """A server whose routes refuse mail, with a browser that has signed in."""
    with late_system(tmp_path_factory.mktemp("late")) as system:
        key = system.server.profile.key
        browser = Browser(system.server.url)
        assert browser.sign_in(key.id, key.secret).status == 303
        browser.get("/mail")  # for its CSRF token
        yield Console(system, browser)


@pytest.fixture
def letter(late):
    """A dead letter: the id of its message, and its address."""
    address = late.system.make("never.example")
    message_id = late.system.deliver(mail("Dead"), address)
    late.system.settle()
    assert late.system.dead_ids(address)
    return message_id, address


def test_dead_letters_have_a_filter_a_chip_and_a_red_point(late, letter):
    message_id, _ = letter
    page = late.browser.get("/mail", **{"is": "dead"})
    assert message_id in ids(page)
    assert "✕ direct, dead" in page.text
    page = late.browser.get(f"/mail/{message_id}")
    assert '<li class="red"><strong>dead</strong>' in page.html
    assert "Redrive 1" in page.text
    assert "data-redrive" in page.html


def test_waiting_mail_has_a_filter_a_chip_and_an_open_point(late):
    address = late.system.make("late.example")
    message_id = late.system.deliver(mail("Waits"), address)
    late.system.settle()
    assert message_id in ids(late.browser.get("/mail", **{"is": "waiting"}))
    page = late.browser.get(f"/mail/{message_id}")
    assert "◷ direct, waiting" in page.text
    assert '<li class="amber"><strong>deferred</strong>' in page.html
    assert '<li class="open"><strong>next attempt</strong>' in page.html


def test_dead_letters_are_redriven(late, letter):
    message_id, address = letter
    page = late.browser.get(f"/mail/{message_id}", **{"is": "dead"})
    action = re.search(r'<form action="([^"]+/redrive[^"]*)"', page.html)[1]
    assert action == f"/console/mail/{message_id}/redrive?is=dead"
    page = late.browser.post(action)
    assert (page.status, page.location) == (303, f"/console/mail/{message_id}?is=dead&done=redriven")
    assert "The dead letters of this message were redriven." in late.browser.get(page.location).text
    assert "redriven" in late.system.events(message_id, address)
    late.system.settle()


def test_a_message_without_dead_letters_cannot_be_redriven(late):
    message_id = late.system.deliver(mail(), late.system.new_address())
    assert "/redrive" not in late.browser.get(f"/mail/{message_id}").html
    page = late.browser.post(f"/mail/{message_id}/redrive")
    assert page.status == 404
    assert "has no dead letter" in page.text


def test_a_message_is_forwarded_again_after_its_address_became_an_alias(late):
    alias, primary = late.system.new_address("help"), late.system.new_address()
    message_id = late.system.deliver(mail("Before"), alias)
    page = late.browser.post(f"/mail/{message_id}/forward")
    assert page.status == 409
    assert "it is in the inbox of no alias" in page.text
    late.system.link(alias, primary)
    page = late.browser.post(f"/mail/{message_id}/forward")
    assert page.location == f"/console/mail/{message_id}?done=forwarded"
    assert late.system.ids_at(primary) == [message_id]
    page = late.browser.post(f"/mail/{message_id}/forward")
    assert page.location == f"/console/mail/{message_id}?done=not-forwarded"
    assert "was not forwarded again" in late.browser.get(page.location).text
    assert late.system.ids_at(primary) == [message_id]


def test_actions_need_their_permission(late, letter):
    message_id, _ = letter
    key, _ = late.new_key("waypost:Inspect")
    reader = late.signed_in(key.id, key.secret)
    page = reader.get(f"/mail/{message_id}")
    assert page.status == 200
    assert "/redrive" not in page.html
    assert "/forward" not in page.html
    for action in ("redrive", "forward"):
        page = reader.post(f"/mail/{message_id}/{action}")
        assert page.status == 403
        assert "does not allow waypost:Redrive" in page.text
        assert late.browser.post(f"/mail/{message_id}/{action}", csrf="").status == 403


def test_another_account_can_do_nothing_with_a_message(late, letter):
    message_id, address = letter
    key, _ = late.new_key(account=OTHER)
    other = late.signed_in(key.id, key.secret)
    other.get("/mail")
    for action in ("redrive", "forward"):
        assert other.post(f"/mail/{message_id}/{action}").status == 404
    assert late.system.dead_ids(address)


def test_a_deletion_is_explained_before_it_happens(late):
    alias, primary = late.system.new_address("help"), late.system.new_address()
    late.system.link(alias, primary)
    message_id = late.system.deliver(mail("Delete me"), alias)
    link = re.search(r'<a class="button" href="([^"]+)">Delete…', late.browser.get(f"/mail/{message_id}").html)[1]
    page = late.browser.get(link)
    assert "2 deliveries of your account will be deleted" in page.text
    assert f"{alias} → {primary}" in page.text
    assert late.browser.get(f"/mail/{message_id}").status == 200
    page = late.browser.post(f"/mail/{message_id}/delete?is=direct")
    assert (page.status, page.location) == (303, "/console/mail?is=direct&done=deleted")
    assert "The message was deleted." in late.browser.get(page.location).text
    assert late.browser.get(f"/mail/{message_id}").status == 404
    assert late.system.ids_at(primary) == []


def test_what_waits_is_deleted_only_if_it_is_cancelled(late):
    message_id = late.system.deliver(mail("Waits"), late.system.make("late.example"))
    page = late.browser.get(f"/mail/{message_id}/delete")
    assert "1 delivery will not be sent" in page.text
    assert '<input type="checkbox" name="cancel" value="yes" required>' in page.html
    assert late.browser.post(f"/mail/{message_id}/delete").status == 409
    assert late.browser.get(f"/mail/{message_id}").status == 200
    assert late.browser.post(f"/mail/{message_id}/delete", {"cancel": "yes"}).status == 303
    assert late.browser.get(f"/mail/{message_id}").status == 404


def test_a_deletion_needs_its_permission(late, letter):
    message_id, _ = letter
    key, _ = late.new_key("waypost:Inspect", "waypost:Redrive")
    reader = late.signed_in(key.id, key.secret)
    assert "Delete…" not in reader.get(f"/mail/{message_id}").text
    for page in (reader.get(f"/mail/{message_id}/delete"), reader.post(f"/mail/{message_id}/delete")):
        assert page.status == 403
        assert "does not allow waypost:DeleteMail" in page.text
    other, _ = late.new_key(account=OTHER)
    stranger = late.signed_in(other.id, other.secret)
    stranger.get("/mail")
    assert stranger.get(f"/mail/{message_id}/delete").status == 404
    assert stranger.post(f"/mail/{message_id}/delete").status == 404
    assert late.browser.get(f"/mail/{message_id}").status == 200


def test_the_first_column_counts_dead_letters_and_mail_of_addresses(late, letter):
    _, address = letter
    apart = address.replace("@", "@ ")  # the page has a tag between the two
    page = wait_until(
        lambda: (page := late.browser.get("/mail", address=address)) and f"{apart} 1 " in page.text and page
    )
    assert re.search(r"Dead letters \d", page.text)


def test_the_busiest_addresses_come_first_and_primaries_below_their_aliases():
    flows = [
        Flow("desk@x.example", "help@x.example", "", 50),
        Flow("help@x.example", "", "", 50),
        Flow("info@x.example", "", "", 60),
        Flow("desk@x.example", "", "", 2),
    ]
    assert sidebar.busiest(flows) == [
        sidebar.Busy("info@x.example", 60),
        sidebar.Busy("help@x.example", 50),
        sidebar.Busy("desk@x.example", 52, is_primary=True),
    ]
