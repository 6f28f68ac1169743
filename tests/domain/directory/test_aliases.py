"""Tests of the rules for alias links, which need only values."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.domain import errors
from waypost.domain.directory import aliases
from waypost.domain.directory.aliases import AliasLink

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def link(primary, alias):
    return AliasLink(primary, alias, NOW)


def associate(primary, alias, *links):
    """Associate two email addresses, given the existing links."""
    ends = {end: each for each in links for end in (each.primary_id, each.alias_id)}
    return aliases.associate(primary, alias, link_of_primary=ends.get(primary), link_of_alias=ends.get(alias), now=NOW)


def test_two_free_email_addresses_can_be_linked():
    assert associate("P", "A") == AliasLink("P", "A", NOW)


def test_a_link_between_other_addresses_does_not_prevent_a_new_link():
    assert associate("P", "A", link("Q", "B")) == AliasLink("P", "A", NOW)


def test_an_email_address_cannot_be_its_own_alias():
    with pytest.raises(errors.Invalid, match="P cannot be its own alias"):
        associate("P", "P")


REFUSED = {
    "the primary already has an alias": (link("P", "B"), "P already has the alias B"),
    "the alias is already the alias of another address": (link("Q", "A"), "A is already an alias of Q"),
    "the alias has an alias of its own": (link("A", "B"), "A has an alias of its own, B"),
    "the primary is itself an alias": (link("Q", "P"), "P is itself an alias of Q"),
    "the same link already exists": (link("P", "A"), "A is already the alias of P"),
    "the link exists with the roles reversed": (link("A", "P"), "P is itself an alias of A"),
}


@pytest.mark.parametrize(("existing", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_an_existing_link_causes_a_conflict_that_names_it(existing, reason):
    with pytest.raises(errors.Conflict, match=reason):
        associate("P", "A", existing)


def test_a_link_can_be_removed():
    assert aliases.disassociate("P", "A", link_of_primary=link("P", "A")) == link("P", "A")


@pytest.mark.parametrize("existing", [None, link("P", "B"), link("A", "P"), link("Q", "P")])
def test_removing_a_link_that_does_not_exist_is_refused_as_not_found(existing):
    with pytest.raises(errors.NotFound, match="A is not an alias of P"):
        aliases.disassociate("P", "A", link_of_primary=existing)


def test_only_the_primary_has_an_alias():
    assert link("P", "A").alias_of("P") == "A"
    assert link("P", "A").alias_of("A") is None


ids = st.sampled_from("ABCDE")


@given(st.lists(st.tuples(st.booleans(), ids, ids), max_size=30))
def test_after_any_sequence_of_attempts_every_email_address_is_in_at_most_one_link(attempts):
    links: dict[str, AliasLink] = {}
    for make, primary, alias in attempts:
        try:
            if make:
                new = aliases.associate(
                    primary, alias, link_of_primary=links.get(primary), link_of_alias=links.get(alias), now=NOW
                )
                assert primary not in links
                assert alias not in links
                links[primary] = links[alias] = new
            else:
                old = aliases.disassociate(primary, alias, link_of_primary=links.get(primary))
                assert links.pop(old.primary_id) is links.pop(old.alias_id)
        except errors.WaypostError:
            continue
    for email_address_id, each in links.items():
        assert (each.alias_of(email_address_id) is None) == (each.alias_id == email_address_id)


def test_the_reason_why_two_email_addresses_cannot_be_linked_is_the_message_of_the_refusal():
    existing = link("Q", "A")
    ends = {"link_of_primary": None, "link_of_alias": existing, "now": NOW}
    with pytest.raises(errors.Conflict) as refused:
        aliases.associate("P", "A", **ends)
    assert aliases.refusal("P", "A", **ends) == refused.value.message
    assert aliases.refusal("P", "P", link_of_primary=None, link_of_alias=None, now=NOW)
    assert aliases.refusal("P", "A", link_of_primary=None, link_of_alias=None, now=NOW) == ""
