"""The pages about email addresses allow nothing that the API would refuse to the same access key."""

import pytest

from tests.kit.browser import Browser
from tests.kit.servers.running import System
from tests.kit.stores import direct_writes
from waypost import testing
from waypost.app.directory import email_addresses
from waypost.domain.directory import addresses
from waypost.domain.directory.email_addresses import EmailAddress
from waypost.domain.directory.instances import Tenant
from waypost.host.clock import now

OTHER = "111111111111"


@pytest.fixture
def pair(place):
    """An instance with two email addresses, `intern` and `ceo`, by name."""
    return place, {name: place.create(name) for name in ("intern", "ceo")}


def browser_with(place, *statements):
    """Return a browser with an access key of the account that has these statements."""
    key, _ = place.console.new_key(name="bob", statements=statements)
    return place.console.signed_in(key.id, key.secret)


def allow(*actions, on="*", **more):
    return {"Effect": "Allow", "Action": actions, "Resource": on} | more


def deny(*actions, on="*"):
    return {"Effect": "Deny", "Action": actions, "Resource": on}


def arn(place, email_address_id):
    return place.describe(email_address_id)["EmailAddressArn"]


@pytest.mark.parametrize("swapped", [False, True], ids=["ceo is the alias", "ceo is the primary"])
def test_both_addresses_of_a_link_are_authorised(pair, swapped):
    place, ids = pair
    browser = browser_with(
        place, allow("*"), deny("connect:*", on=f"arn:aws:connect:*:*:instance/*/email-address/{ids['ceo']}")
    )
    primary, alias = (ids["ceo"], ids["intern"]) if swapped else (ids["intern"], ids["ceo"])
    browser.get("/addresses", **{"in": place.text})
    page = browser.post(place.path(primary, "associate"), {"alias": alias})
    assert page.status == 403
    assert "AccessDeniedException" in page.text
    assert (
        f"connect:AssociateEmailAddressAlias on resource: {arn(place, ids['ceo'])} with an explicit deny" in page.text
    )
    assert place.describe(primary)["AliasConfigurations"] == []
    place.associate(primary, alias)
    page = browser.post(place.path(primary, "disassociate"), {"alias": alias})
    assert page.status == 403
    assert place.describe(primary)["AliasConfigurations"] == [{"EmailAddressId": alias}]


def test_a_key_that_may_only_read_changes_nothing(pair):
    place, ids = pair
    browser = browser_with(place, allow("connect:Describe*", "connect:Search*", "connect:List*"))
    page = browser.get(place.path(ids["ceo"]))
    assert page.status == 200
    assert "does not allow waypost:Inspect" in page.text
    for form, fields in {
        "edit": {"display_name": "x"},
        "tag": {"key": "a"},
        "untag": {"key": "a"},
        "delete": {},
        "associate": {"alias": ids["intern"]},
        "disassociate": {"alias": ids["intern"]},
        "explain": {"message": "x"},
    }.items():
        assert browser.post(place.path(ids["ceo"], form), fields).status == 403, form
    fields = {"in": place.text, "address": place.address("new")}
    assert browser.post("/addresses", fields).status == 403
    found = place.connect.search_email_addresses(InstanceId=place.instance_id)
    assert found["ApproximateTotalCount"] == 2
    assert browser.get("/map").status == 403


def test_routes_and_other_ends_are_shown_only_to_a_key_that_may_see_them(pair):
    place, ids = pair
    place.associate(ids["ceo"], ids["intern"])
    browser = browser_with(
        place,
        allow("connect:DescribeEmailAddress", on=f"arn:aws:connect:*:*:instance/*/email-address/{ids['intern']}"),
        allow("connect:List*"),
    )
    page = browser.get(place.path(ids["intern"]))
    assert place.address("intern") in page.text
    assert place.address("ceo") not in page.text
    assert ids["ceo"] not in page.html
    assert "inbox" not in page.text.replace("Open its inbox", "")
    assert browser.get(place.path(ids["ceo"])).status == 403


def test_the_reasons_of_other_links_are_shown_only_to_a_key_that_may_inspect(pair):
    place, ids = pair
    place.associate(ids["ceo"], ids["intern"])
    own = place.create("own")
    browser = browser_with(place, allow("connect:*"))
    page = browser.get(place.path(own, "link"), side="alias")
    assert page.text.count("Make alias") == 2
    assert "already an alias" not in page.text


def test_conditions_on_tags_in_the_request_apply(place):
    browser = browser_with(
        place,
        allow("connect:CreateEmailAddress", Condition={"StringEquals": {"aws:RequestTag/Team": "a"}}),
        allow("connect:Search*", "connect:List*", "connect:Describe*"),
    )
    browser.get("/addresses", **{"in": place.text})
    fields = {"in": place.text, "address": place.address("new")}
    assert browser.post("/addresses", fields | {"tag_key": "Team", "tag_value": "b"}).status == 403
    assert browser.post("/addresses", fields | {"tag_key": "Team", "tag_value": "a"}).status == 303


def test_conditions_on_the_region_apply_to_the_list_of_instances(place):
    elsewhere = allow("connect:*", Condition={"StringEquals": {"aws:RequestedRegion": "eu-west-1"}})
    page = browser_with(place, elsewhere).get("/addresses")
    assert page.status == 403
    assert "AccessDeniedException" in page.text
    assert place.instance_id not in page.html


def test_another_account_sees_and_changes_nothing(pair):
    place, ids = pair
    key, _ = place.console.new_key(account=OTHER)
    browser = place.console.signed_in(key.id, key.secret)
    browser.get("/addresses")
    assert browser.get("/addresses", **{"in": place.text}).status == 404
    for page in ("", "delete", "link"):
        found = browser.get(place.path(ids["ceo"], page))
        assert found.status == 404, page
        assert place.address("ceo") not in found.text
    page = browser.post(place.path(ids["ceo"], "delete"))
    assert page.status == 404
    assert f"ResourceNotFoundException: Instance {place.instance_id} was not found in account {OTHER}" in page.text
    assert place.describe(ids["ceo"])["EmailAddress"] == place.address("ceo")
    assert place.address("ceo") not in browser.get("/map").text
    mine = f"mine.{place.tail}@other.example"
    assert browser.post("/addresses", {"in": place.text, "address": mine}).status == 404


def test_the_quota_of_an_instance_applies():
    with testing.server("--limits", "aws") as server:
        system = System(server)
        tenant = Tenant("000000000000", server.profile.region)

        def fill(tx):
            for number in range(100):
                email_addresses.create(tx, tenant, new_address(system.instance_id, number), tags={})

        direct_writes.write(server.data, fill)
        browser = Browser(server.url)
        browser.sign_in(server.profile.key.id, server.profile.key.secret)
        browser.get("/keys")
        fields = {"in": f"{tenant.region}/{system.instance_id}", "address": "more@example.com"}
        page = browser.post("/addresses", fields)
        system.connect.close()
    assert page.status == 402
    assert "ServiceQuotaExceededException : Instance" in page.text
    assert "has reached its quota of 100 email addresses." in page.text


def new_address(instance_id, number):
    return EmailAddress(
        id=f"id{number}",
        instance_id=instance_id,
        account="000000000000",
        address=addresses.parse(f"n{number}@example.com"),
        display_name=None,
        description=None,
        created_at=now(),
        modified_at=now(),
    )
