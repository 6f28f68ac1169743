"""From recipients to deliveries."""

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


def told(plan):
    """A plan as short text: `name:reason` or `name:reason<alias`."""
    return [f"{d.email_address.id}:{d.reason}" + (f"<{d.alias.id}" if d.alias else "") for d in plan.destinations]


def test_an_email_address_without_links_gets_its_mail():
    assert told(routing.plan([recipient("p")])) == ["p:direct"]


def test_an_alias_keeps_its_copy_and_its_primary_gets_one():
    plan = routing.plan([recipient("a", primary="p")])

    assert told(plan) == ["a:direct", "p:forwarded<a"]
    assert plan.destinations[1].sent_to.text == "a@example.com"


def test_alias_and_primary_both_addressed_get_one_copy_each_and_the_plan_says_why():
    for both in ([recipient("a", primary="p"), recipient("p")], [recipient("p"), recipient("a", primary="p")]):
        plan = routing.plan(both)

        assert sorted(told(plan)) == ["a:direct", "p:direct"]
        assert [spared.email_address.id for spared in plan.spared] == ["p"]
        assert "a@example.com forwards to p@example.com, which was addressed itself" in plan.spared[0].why


def test_an_address_named_twice_gets_one_copy():
    plan = routing.plan([recipient("a", primary="p"), recipient("a", primary="p")])

    assert told(plan) == ["a:direct", "p:forwarded<a"]
    assert [spared.why for spared in plan.spared] == ["a@example.com was named more than once; one copy is enough"]


def test_no_recipients_no_deliveries():
    assert routing.plan([]) == routing.Plan((), ())


links = {"a": "p", "b": "q"}
names = st.lists(st.sampled_from("apbqxy"), max_size=10)


@given(names)
def test_everyone_gets_what_leads_to_them_exactly_once(addressed):
    plan = routing.plan([recipient(name, primary=links.get(name)) for name in addressed])
    reached = [destination.email_address.id for destination in plan.destinations]

    assert len(reached) == len(set(reached))
    assert set(reached) == set(addressed) | {links[name] for name in addressed if name in links}
    for destination in plan.destinations:
        assert (destination.reason is Reason.DIRECT) == (destination.email_address.id in addressed)
