"""What people do with the console, from the first email address to a dead letter that is delivered at last."""

import re
import time
import uuid
from email.message import EmailMessage
from email.policy import SMTP

import pytest
from botocore.exceptions import ClientError
from playwright.sync_api import expect

from tests.kit.peers.mail_sink import Sink

PAPER = bytes(range(256)) * 8


@pytest.fixture
def name():
    """A word that is in no other test."""
    return uuid.uuid4().hex[:12]


def letter(recipient, subject) -> bytes:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "Ann <ann@client.example>", recipient, subject
    message.set_content("Good morning in plain text.")
    message.add_alternative("<p>Good <b>morning</b> in HTML.</p>", subtype="html")
    message.add_attachment(PAPER, maintype="application", subtype="octet-stream", filename="paper.bin")
    return message.as_bytes(policy=SMTP)


def create_address(window, address):
    window.open("/addresses")
    form = window.page.get_by_role("complementary", name="Create an address")
    form.get_by_label("Address", exact=True).fill(address)
    form.get_by_role("button", name="Create address").click()
    expect(window.page.get_by_role("status").filter(has_text="CreateEmailAddress")).to_be_visible()


def open_address(window, address):
    window.open(f"/addresses?find={address}")
    window.page.get_by_role("main").get_by_role("link", name=address).first.click()
    expect(window.page.get_by_role("heading", level=1, name=address)).to_be_visible()


def make_alias(window, alias, primary):
    open_address(window, primary)
    window.page.get_by_role("link", name="Add an alias").click()
    window.page.get_by_label("Part of the address").fill(alias)
    window.page.get_by_role("search", name="Email addresses").get_by_role("button").click()
    window.page.get_by_role("button", name=f"Make alias: {alias}").click()


@pytest.mark.parametrize("scripts", [True, False])
def test_two_addresses_become_an_alias_and_its_primary(new_window, system, name, scripts):
    window = new_window(system.server, scripts=scripts)
    window.sign_in_at_once()
    alias, primary = f"support.{name}@example.com", f"desk.{name}@example.com"
    for address in (alias, primary):
        create_address(window, address)
    make_alias(window, alias, primary)
    receipt = window.page.get_by_role("status").filter(has_text="AssociateEmailAddressAlias")
    expect(receipt).to_contain_text("aws connect associate-email-address-alias")
    expect(receipt).to_contain_text("connect.associate_email_address_alias(")
    expect(window.page.get_by_role("main")).to_contain_text(f"Mail to {alias} is also delivered to {primary}.")


def test_a_chain_of_aliases_is_refused_in_the_words_of_the_api(window, system):
    _, primary = system.linked_pair()
    other = system.new_address("other")
    with pytest.raises(ClientError) as refused:
        system.connect.associate_email_address_alias(**system._link(primary, other))
    open_address(window, other)
    window.page.get_by_role("link", name="Add an alias").click()
    window.open(f"{window.path}&find={primary}")
    expect(window.page.get_by_role("heading", name="These may not be the alias")).to_be_visible()
    expect(window.page.get_by_role("main")).to_contain_text(refused.value.response["Error"]["Message"])
    expect(window.page.get_by_role("button", name=f"Make alias: {primary}")).to_have_count(0)


def test_new_mail_appears_at_both_addresses_without_a_reload(window, system, name, record_property):
    alias, primary = system.linked_pair()
    pages = []
    for address in (alias, primary):
        page = window.context.new_page()
        with page.expect_response(lambda response: "/events" in response.url):
            page.goto(window.url(f"/mail?address={address}"))
        page.evaluate("window.isTheSamePage = true")
        pages.append(page)
    system.deliver(letter(alias, f"Order {name}"), alias)
    accepted_at = time.monotonic()
    for page in pages:
        expect(page.get_by_role("listitem").filter(has_text=f"Order {name}")).to_be_visible()
    record_property("seconds until the message is at both addresses", time.monotonic() - accepted_at)
    for page in pages:
        assert page.evaluate("window.isTheSamePage")


def test_a_message_is_read_with_its_attachment_and_its_trace(window, system, name):
    alias, primary = system.linked_pair()
    system.deliver(letter(alias, f"Order {name}"), alias)
    window.open(f"/mail?address={alias}")
    page = window.page
    page.get_by_role("listitem").filter(has_text=f"Order {name}").get_by_role("link").click()
    message = page.get_by_role("article")
    expect(message.get_by_role("heading", name=f"Order {name}")).to_be_visible()
    expect(message).to_contain_text("Good morning in plain text.")
    expect(message).to_contain_text(f"{alias} → {primary}")
    message.get_by_role("link", name="HTML").click()
    expect(page.frame_locator("iframe").get_by_text("Good morning in HTML.")).to_be_visible()
    expect(page.get_by_role("region", name="Trace")).to_be_in_viewport(ratio=1)
    message.get_by_role("link", name="Headers").click()
    expect(message.get_by_role("row", name=re.compile("^Subject"))).to_contain_text(name)
    message.get_by_role("link", name="Source").click()
    expect(message).to_contain_text("Content-Transfer-Encoding: base64")
    with page.expect_download() as downloading:
        message.get_by_role("link", name="paper.bin").click()
    assert downloading.value.suggested_filename == "paper.bin"
    assert downloading.value.path().read_bytes() == PAPER
    points = message.locator(".timeline")
    expect(points).to_contain_text("accepted", ignore_case=True)
    expect(points).to_contain_text(primary)
    page.go_back()
    page.reload()
    expect(page.get_by_role("article")).to_contain_text(name)


def test_a_message_is_found_by_its_words(window, system, name):
    address = system.new_address()
    system.deliver(letter(address, f"Order {name}"), address)
    system.deliver(letter(address, "Another one"), address)
    window.open("/settings")
    window.page.keyboard.press("/")
    window.page.keyboard.type(f"subject:{name}")
    window.page.keyboard.press("Enter")
    rows = window.page.locator("[data-live-rows]").get_by_role("listitem")
    expect(window.page.get_by_role("searchbox").first).to_have_value(f"subject:{name}")
    while rows.count() == 0:
        window.page.reload()
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text(f"Order {name}")


def test_the_keyboard_moves_through_the_list_and_opens_a_message(window, system, name):
    address = system.new_address()
    for number in range(3):
        system.deliver(letter(address, f"Order {number} {name}"), address)
    window.open(f"/mail?address={address}")
    for key in "jjkj":
        window.page.keyboard.press(key)
    window.page.keyboard.press("Enter")
    expect(window.page.get_by_role("article").get_by_role("heading", name=f"Order 1 {name}")).to_be_visible()


def test_a_dead_letter_is_redriven(window, system, name):
    address = system.new_address("dead")
    page = window.page
    with Sink(at_rcpt=lambda _: b"550 5.1.1 no such user here") as sink:
        window.open("/routes")
        page.get_by_label("Mail for", exact=True).fill(address)
        page.get_by_label("Goes to").fill(sink.to)
        page.get_by_role("button", name="Add route").click()
        expect(page.get_by_role("row").filter(has_text=address)).to_be_visible()
        system.deliver(letter(address, f"Order {name}"), address)
        window.open("/mail?is=dead")
        row = page.get_by_role("listitem").filter(has_text=name)
        expect(row).to_be_visible()
        window.open(f"/queue/dead-letters?address={address}")
        expect(page.get_by_role("row").filter(has_text=name)).to_contain_text("550 5.1.1 no such user here")
        sink.at_rcpt = lambda _: b"250 2.1.5 ok"
        page.get_by_role("row").filter(has_text=name).get_by_role("link", name="Redrive").click()
        expect(page.get_by_role("heading", name="Redrive 1 dead letter?")).to_be_visible()
        page.get_by_role("button", name="Redrive 1").click()
        (taken,) = sink.wait_for(1)
        assert name.encode() in taken.octets
        window.open(f"/queue/dead-letters?address={address}")
        expect(page.get_by_role("main")).to_contain_text("No dead letter matches.")
        window.open("/routes")
        page.get_by_role("row").filter(has_text=address).get_by_role("link", name="Remove").click()
        page.get_by_role("button", name="Remove 1 route").click()
        expect(page.get_by_role("row").filter(has_text=address)).to_have_count(0)


@pytest.mark.parametrize("scripts", [True, False])
def test_a_test_message_is_sent_and_opened(new_window, system, name, scripts):
    window = new_window(system.server, scripts=scripts)
    window.sign_in_at_once()
    address = system.new_address("sent")
    window.open(f"/send?to={address}")
    window.page.get_by_label("Subject").fill(f"Test {name}")
    window.page.get_by_role("button", name="Send 1 message").click()
    window.page.get_by_role("link", name="Open the message").click()
    expect(window.page.get_by_role("article").get_by_role("heading", name=f"Test {name}")).to_be_visible()
    window.open("/flow")
    expect(window.page.get_by_role("main")).to_contain_text("Accepted")


def test_an_address_is_deleted_after_a_question(window, system):
    alias, primary = system.linked_pair()
    open_address(window, alias)
    window.page.get_by_role("link", name="Delete address").click()
    expect(window.page.get_by_role("main")).to_contain_text("Its alias link is removed.")
    window.page.get_by_role("button", name="Delete 1 address").click()
    expect(window.page.get_by_role("status").filter(has_text="DeleteEmailAddress")).to_be_visible()
    assert system.rcpt(alias)[0] == 550
    assert system.rcpt(primary)[0] == 250


def test_a_message_is_deleted_after_a_question(window, system, name):
    address = system.new_address("deleted")
    message_id = system.deliver(letter(address, f"Order {name}"), address)
    window.open(f"/mail/{message_id}")
    window.page.get_by_role("link", name="Delete…").click()
    expect(window.page.get_by_role("main")).to_contain_text("This cannot be undone.")
    window.page.get_by_role("button", name="Delete 1 delivery").click()
    window.page.wait_for_url(lambda url: message_id not in url)
    assert system.inbox(address) == []
