"""Tests of the rules for tags: the allowed keys, and the maximum number of tags."""

import pytest

from waypost.domain import errors
from waypost.domain.directory import tags

FIFTY = {f"key {number}": "" for number in range(50)}

TOGETHER = {
    "the first": ({}, {"a"}),
    "one more": ({"a"}, {"b"}),
    "another value": ({"a"}, {"a"}),
    "nothing": ({"a"}, {}),
    "the fiftieth": (list(FIFTY)[1:], {"last"}),
    "another value of fifty": (FIFTY, {"key 0"}),
    "all fifty again": (FIFTY, FIFTY),
}


@pytest.mark.parametrize(("present", "new"), TOGETHER.values(), ids=TOGETHER)
def test_new_tags_are_added_to_the_present_tags(present, new):
    tags.check_together(present, new)


@pytest.mark.parametrize(
    ("present", "new", "message"),
    [(FIFTY, {"one more": ""}, ("50", "51")), ({"a": ""}, FIFTY, ("1", "51")), (FIFTY, {"x": "", "y": ""}, ("52",))],
)
def test_a_resource_has_at_most_fifty_tags(present, new, message):
    with pytest.raises(errors.Invalid, match="at most 50 tags") as caught:
        tags.check_together(present, new)
    assert all(number in caught.value.message for number in message)


@pytest.mark.parametrize("key", ["aws:", "aws:team", "AWS:team", "Aws:team", "aWs:TEAM"])
def test_a_reserved_key_is_refused_in_any_letter_case(key):
    for refuse in (lambda: tags.refuse_reserved(["team", key]), lambda: tags.check_together({}, {key: ""})):
        with pytest.raises(errors.Invalid, match="is reserved") as caught:
            refuse()
        assert repr(key) in caught.value.message


@pytest.mark.parametrize("key", ["aws", "awsome:team", "team:aws:", " aws:", "a"])
def test_a_key_that_merely_resembles_a_reserved_key_is_accepted(key):
    tags.check_together({}, {key: "v"})
    tags.refuse_reserved([key])
