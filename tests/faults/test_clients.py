"""The recorded state of the email addresses begins the next history, and looks become calls of the checker."""

from faults.clients import Directory, as_calls
from faults.clients import _part as part
from tests.linearizability.checker import Operation, check

LATER = {"process": "c", "invoked_at": 5.0, "returned_at": 6.0}


def test_a_history_begins_with_calls_that_lead_to_the_state_before_it():
    before = as_calls(frozenset([("p", "a"), ("p", "name", "x"), ("gone",)]))
    looks = [
        Operation(kind="describe", arguments=("p",), outcome=("a",), **LATER),
        Operation(kind="tags", arguments=("p",), outcome=("name=x",), **LATER),
        Operation(kind="describe", arguments=("gone",), outcome="not found", **LATER),
    ]
    assert check([*before, *looks]) is None
    assert check(looks) is not None


def test_a_look_shows_aliases_and_tags():
    assert part(("a", "k=v"), is_tag=False) == ("a",)
    assert part(("a", "k=v"), is_tag=True) == ("k=v",)
    assert part("not found", is_tag=True) == "not found"
    assert part(None, is_tag=True) is None


def test_a_name_that_another_caller_may_still_create_is_not_deleted():
    names = Directory("n")
    first = names.name_for_creation(0.9)
    assert names.name_for_creation(0.9) == first
    names.add(first, {"EmailAddressId": "i", "EmailAddressArn": "arn"})
    assert not names.may_delete(first)
    other = names.name_for_creation(0.1)
    assert not names.may_delete(other)
    names.add(other, {"EmailAddressId": "j", "EmailAddressArn": "arn"})
    assert names.may_delete(other)
