"""The pages about email addresses: the list with its search, one address, its texts and tags, and alias links.

The browser of these tests has no scripts, so all of these pages work without them.
"""

import html
import re
from functools import partial
from urllib.parse import quote

import pytest

from tests.kit.console_places import forms_in
from waypost.app.mail import routes
from waypost.console import receipts
from waypost.domain.mail.routes import Route


def test_an_address_is_created_and_the_same_call_is_shown(place):
    fields = {"in": place.text, "address": place.address("Support"), "display_name": "Help & <more>"}
    place.list()
    page = place.follow(place.console.browser.post("/addresses", fields | {"tag_key": "Team", "tag_value": "Sales"}))
    assert page.status == 200
    assert "✓ done CreateEmailAddress" in page.text
    cli, lines = forms_in(page)[:2]
    assert cli.startswith("aws connect create-email-address \\\n")
    assert lines.startswith("import boto3\n")
    assert f"EmailAddress='{place.address('Support')}'" in lines
    found = place.connect.search_email_addresses(InstanceId=place.instance_id)["EmailAddresses"]
    assert [(one["EmailAddress"], one["DisplayName"]) for one in found] == [(place.address("Support"), "Help & <more>")]
    assert place.describe(found[0]["EmailAddressId"])["Tags"] == {"Team": "Sales"}
    assert "<more>" not in page.html


def test_the_list_draws_the_path_of_an_alias(place):
    primary, alias = place.create("desk"), place.create("support")
    place.associate(primary, alias)
    text = place.list().text
    assert f"{place.address('support')} ──▶ {place.address('desk')} ──▶ inbox" in text
    assert f"{place.address('desk')} ◀── {place.address('support')} ──▶ inbox" in text
    assert text.count(place.address("support")) == text.count(place.address("desk")) == 2  # once in each row
    assert "2 addresses" in text


def test_the_page_of_an_address_has_the_newest_mail_of_its_inbox(place):
    own = place.create("desk")
    assert "No mail yet." in place.get(own).text
    for number in range(7):
        place.console.system.deliver(f"Subject: Order {number}\r\n\r\nx\r\n".encode(), place.address("desk"))
    page = place.get(own)
    assert re.findall("Order [0-9]", page.text) == [f"Order {number}" for number in (6, 5, 4, 3, 2)]
    assert f'/console/mail?address={quote(place.address("desk"))}">Open its inbox' in page.html


def test_a_link_that_was_removed_is_made_again(place):
    primary, alias = place.create("desk"), place.create("support")
    place.associate(primary, alias)
    place.get(primary)
    page = place.follow(place.post(primary, "disassociate", {"alias": alias}))
    assert "Undo: make the link again" in page.text
    assert f'action="/console{place.path(primary, "associate")}"' in page.html
    page = place.follow(place.post(primary, "associate", {"alias": alias}))
    assert "AssociateEmailAddressAlias" in page.text
    assert "Undo" not in page.text


def test_the_path_shows_the_route_without_its_secrets(place):
    own = place.create("desk")
    route = Route(
        match=place.address("desk"),
        to="https://hooks.example/mail?token=in-the-url",
        secret="0123456789abcdef",
        keep=True,
    )
    number = place.console.write(partial(routes.add_route, route=route, before=None))
    pages = [place.list(), place.get(own), place.console.browser.get("/map", find=place.address("desk"))]
    place.console.write(partial(routes.remove_route, number=number))
    for page in pages:
        assert "https://hooks.example/mail?…" in page.text
        assert "in-the-url" not in page.html
        assert "0123456789abcdef" not in page.html
    assert "https://hooks.example/mail?… and inbox" in pages[1].text
    assert f"Route {number} for {place.address('desk')}." in pages[1].text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"find": "ESK"}, {"desk"}),
        ({"find": "sup", "how": "STARTS_WITH"}, {"support"}),
        ({"find": "esk", "how": "STARTS_WITH"}, set()),
        ({"find": "the desk", "field": "displayName", "how": "EXACT"}, {"desk"}),
        ({"tag": "Team"}, {"desk", "support"}),
        ({"tag": "Team=b"}, {"support"}),
        ({"find": "desk", "tag": "Team=b"}, set()),
    ],
    ids=["contains", "starts with", "does not start with", "exact name", "tag", "tag and value", "both"],
)
def test_the_list_is_searched_as_by_the_api(place, query, found):
    place.create("desk", DisplayName="The desk", Tags={"Team": "a"})
    place.create("support", Tags={"Team": "b"})
    page = place.list(**query)
    assert {name for name in ("desk", "support") if place.address(name) in page.text} == found
    assert "search-email-addresses" in page.html


def test_a_long_list_has_pages(place):
    for number in range(55):
        place.create(f"n{number:02}")
    first = place.list(find="n", how="STARTS_WITH")
    following = re.search(r'href="/console(/addresses\?[^"]+)">Next page', first.html)
    second = place.console.browser.get(html.unescape(following[1]))
    names = re.findall(r"n(\d\d)\.", first.text + second.text)
    assert len(first.text) > len(second.text)
    assert {int(name) for name in names} == set(range(55))
    assert "Next page" not in second.text


def test_a_search_that_is_not_valid_has_the_words_of_the_api(place):
    page = place.console.browser.get("/addresses", **{"in": place.text, "find": "x", "field": "colour"})
    assert page.status == 400
    assert "InvalidParameterException: FieldName 'colour' cannot be searched." in page.text


def test_only_texts_that_the_person_has_changed_are_sent(place):
    own = place.create("desk", DisplayName="Desk")
    place.get(own)
    fields = {"display_name": "Desk", "display_name_before": "Desk", "description_before": "", "description": "a\r\nb"}
    page = place.follow(place.post(own, "edit", fields))
    assert "✓ done UpdateEmailAddressMetadata" in page.text
    assert "DisplayName=" not in forms_in(page)[1]
    described = place.describe(own)
    assert (described["DisplayName"], described["Description"]) == ("Desk", "a\nb")


def test_tags_are_added_and_removed(place):
    own = place.create("desk")
    place.get(own)
    page = place.follow(place.post(own, "tag", {"key": "Team", "value": "Sales & more"}))
    assert place.describe(own)["Tags"] == {"Team": "Sales & more"}
    assert "Team=Sales & more" in page.text
    page = place.follow(place.post(own, "untag", {"key": "Team"}))
    assert place.describe(own)["Tags"] == {}
    assert "untag-resource" in page.html
    page = place.post(own, "tag", {"key": "aws:x", "value": ""})
    assert page.status == 400
    assert "InvalidParameterException : " in page.text


def test_an_address_is_deleted_after_a_page_that_says_what_happens(place):
    primary, alias = place.create("desk"), place.create("support")
    place.associate(primary, alias)
    page = place.get(alias, "delete")
    assert "550 5.1.1" in page.text
    assert "Its alias link is removed." in page.text
    page = place.follow(place.post(alias, "delete"))
    assert "✓ done DeleteEmailAddress" in page.text
    assert place.describe(primary)["AliasConfigurations"] == []
    again = place.post(alias, "delete")
    assert again.status == 404
    assert f"ResourceNotFoundException: Email address {alias} was not found" in again.text


def test_a_link_is_made_and_removed(place):
    primary, alias = place.create("desk"), place.create("support")
    page = place.get(primary, "link", side="alias")
    assert "Make alias" in page.text
    page = place.follow(place.post(primary, "associate", {"alias": alias}))
    assert place.describe(primary)["AliasConfigurations"] == [{"EmailAddressId": alias}]
    assert "✓ done AssociateEmailAddressAlias" in page.text
    assert f"Mail to {place.address('support').replace('@', '@ ')} is also delivered to" in page.text
    page = place.follow(place.post(primary, "disassociate", {"alias": alias}))
    assert place.describe(primary)["AliasConfigurations"] == []
    assert "disassociate-email-address-alias" in page.html
    page = place.post(primary, "disassociate", {"alias": alias})
    assert page.status == 404
    assert "ResourceNotFoundException : " in page.text


def test_a_chain_is_refused_in_the_words_of_the_api(place):
    desk, support, info = place.create("desk"), place.create("support"), place.create("info")
    place.associate(desk, support)
    with pytest.raises(place.connect.exceptions.ResourceConflictException) as refused:
        place.associate(support, info)
    place.get(support)
    page = place.post(support, "associate", {"alias": info})
    assert page.status == 409
    assert f"ResourceConflictException : {refused.value.response['Error']['Message']}" in page.text
    assert "Aliases cannot be chained" in page.text


def test_only_addresses_that_may_be_an_alias_are_offered_and_the_others_have_a_reason(place):
    desk, support, info = place.create("desk"), place.create("support"), place.create("info")
    place.associate(desk, support)
    page = place.get(info, "link", side="alias")
    assert page.text.count("Make alias") == 0  # both are in a link
    assert f"Email address {support} is already an alias of {desk}." in page.text
    assert f"Email address {desk} has an alias of its own, {support}." in page.text
    free = place.create("free")
    page = place.get(info, "link", side="alias")
    assert re.findall(r'name="alias" value="([^"]+)"', page.html) == [free]
    page = place.get(info, "link", side="primary", find="free")
    assert f'action="/console{place.path(free, "associate")}"' in page.html
    assert re.findall(r'name="alias" value="([^"]+)"', page.html) == [info]


@pytest.mark.parametrize(
    ("fields", "code", "status"),
    [
        ({"address": "no address"}, "InvalidParameterException", 400),
        ({"address": "x@y.example", "display_name": "d" * 257}, "InvalidParameterException", 400),
        ({"address": "x@y.example", "tag_key": "a", "tag_value": "v" * 257}, "InvalidParameterException", 400),
        ({"address": "support@example.com", "in": "us-east-1/nothing"}, "ResourceNotFoundException", 404),
    ],
    ids=["address", "name", "tag", "instance"],
)
def test_what_the_api_refuses_the_form_refuses(place, fields, code, status):
    place.list()
    page = place.console.browser.post("/addresses", {"in": place.text} | fields)
    assert page.status == status
    assert code in page.text
    assert place.connect.search_email_addresses(InstanceId=place.instance_id)["EmailAddresses"] == []


def test_an_address_that_exists_is_refused_and_the_form_keeps_its_fields(place):
    place.create("desk")
    place.list()
    fields = {"in": place.text, "address": place.address("desk"), "description": "for <all>"}
    page = place.console.browser.post("/addresses", fields)
    assert page.status == 409
    assert "DuplicateResourceException : Email address" in page.text
    assert "for &lt;all&gt;</textarea>" in page.html


def test_the_page_says_what_would_happen_to_mail(place):
    primary, alias = place.create("desk"), place.create("support")
    place.associate(primary, alias)
    page = place.get(alias)
    assert "✓ accepted" in page.text
    assert f"forwarded through {place.address('support')}" in page.text
    assert f'href="/console/mail?address={place.address("support").replace("@", "%40")}"' in page.html


def test_a_pasted_message_is_explained(place):
    own = place.create("desk")
    place.get(own)
    message = "Received: from a\r\nReceived: from b\r\nSubject: <x>\r\n\r\nReceived: not a field\r\n"
    page = place.post(own, "explain", {"message": message, "sender": "ann@shop.example"})
    assert page.status == 200
    assert "The message has 2 Received lines" in page.text
    assert "Subject: &lt;x&gt;" in page.html
    page = place.post(own, "explain", {"message": "Received: by x\r\n" * 101})
    assert "✗ refused" in page.text
    assert place.post(own, "explain", {"message": "x" * 100_001}).status == 400
    assert place.post(own, "explain", {"sender": "nobody"}).status == 400


def test_a_form_without_its_token_changes_nothing(place):
    own = place.create("desk")
    page = place.console.browser.post(place.path(own, "delete"), csrf="0" * 64)
    assert page.status == 403
    assert place.describe(own)["EmailAddress"] == place.address("desk")


def test_the_url_of_a_form_leads_back_to_the_address(place):
    own = place.create("desk")
    assert place.get(own, "edit").location == f"/console{place.path(own)}"


def test_an_account_without_an_instance_gets_the_call_that_creates_one(console):
    key, _ = console.new_key(account="222222222222")
    page = console.signed_in(key.id, key.secret).get("/addresses")
    assert "No instance yet" in page.text
    assert "--identity-management-type CONNECT_MANAGED" in page.html


def test_only_this_session_can_read_a_receipt():
    call = receipts.Call("DeleteEmailAddress", "us-east-1", {"InstanceId": "x"})
    text = receipts.write(call, b"key", bound_to="a")
    assert receipts.read(text, b"key", bound_to="a") == call
    for wrong in (text[:-1], "A" + text[1:], "", "é", "=", text + "A"):
        assert receipts.read(wrong, b"key", bound_to="a") is None
    assert receipts.read(text, b"key", bound_to="b") is None
    assert receipts.read(text, b"other", bound_to="a") is None
