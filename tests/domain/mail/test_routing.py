"""The deliveries that the recipients of a message cause."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from waypost.domain.directory.addresses import Address
from waypost.domain.directory.email_addresses import EmailAddress
from waypost.domain.mail import routing
from waypost.domain.mail.delivery import Reason

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def email_address(name):
    return EmailAddress(
        id=name,
        instance_id="i",
        account="000000000000",
        address=Address(f"{name}@example.com", f"{name}@example.com"),
        display_name=None,
        description=None,
        created_at=NOW,
        modified_at=NOW,
    )


def recipient(name, primary=None):
    found = email_address(name)
    return routing.Recipient(found.address, found, email_address(primary) if primary else None)


def described(plan):
    """A plan as short strings: `name:reason` or `name:reason<alias`."""
    return [f"{d.email_address.id}:{d.reason}" + (f"<{d.alias.id}" if d.alias else "") for d in plan.destinations]


def test_an_email_address_without_an_alias_link_gets_its_mail():
    assert described(routing.plan([recipient("p")])) == ["p:direct"]


def test_an_alias_and_its_primary_each_get_a_copy():
    plan = routing.plan([recipient("a", primary="p")])

    assert described(plan) == ["a:direct", "p:forwarded<a"]
    assert plan.destinations[1].sent_to.text == "a@example.com"


def test_an_alias_and_its_primary_get_one_copy_each_if_both_are_addressed():
    for both in ([recipient("a", primary="p"), recipient("p")], [recipient("p"), recipient("a", primary="p")]):
        plan = routing.plan(both)

        assert sorted(described(plan)) == ["a:direct", "p:direct"]
        assert [spared.email_address.id for spared in plan.spared] == ["p"]
        assert "a@example.com forwards to p@example.com, which was also addressed directly" in plan.spared[0].why


def test_an_address_that_is_addressed_twice_gets_one_copy():
    plan = routing.plan([recipient("a", primary="p"), recipient("a", primary="p")])

    assert described(plan) == ["a:direct", "p:forwarded<a"]
    assert [spared.why for spared in plan.spared] == ["a@example.com was addressed more than once, but gets one copy"]


def test_a_message_without_recipients_causes_no_deliveries():
    assert routing.plan([]) == routing.Plan((), ())


links = {"a": "p", "b": "q"}
names = st.lists(st.sampled_from("apbqxy"), max_size=10)


@given(names)
def test_each_email_address_that_a_recipient_resolves_to_gets_exactly_one_copy(addressed):
    plan = routing.plan([recipient(name, primary=links.get(name)) for name in addressed])
    reached = [destination.email_address.id for destination in plan.destinations]

    assert len(reached) == len(set(reached))
    assert set(reached) == set(addressed) | {links[name] for name in addressed if name in links}
    for destination in plan.destinations:
        assert (destination.reason is Reason.DIRECT) == (destination.email_address.id in addressed)
