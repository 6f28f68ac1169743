"""What may be a tag, and how many there may be."""

import pytest

from waypost.domain import errors, tags

FIFTY = {f"key {number}": "" for number in range(50)}

MERGED = {
    "the first": ({}, {"a": "1"}, {"a": "1"}),
    "one more": ({"a": "1"}, {"b": "2"}, {"a": "1", "b": "2"}),
    "another value": ({"a": "1"}, {"a": "2"}, {"a": "2"}),
    "keys differ by case": ({"a": "1"}, {"A": "2"}, {"a": "1", "A": "2"}),
    "nothing": ({"a": "1"}, {}, {"a": "1"}),
    "the fiftieth": (dict(list(FIFTY.items())[1:]), {"last": ""}, None),
    "another value of fifty": (FIFTY, {"key 0": "other"}, {**FIFTY, "key 0": "other"}),
    "all fifty again": (FIFTY, FIFTY, FIFTY),
}


@pytest.mark.parametrize(("present", "new", "together"), MERGED.values(), ids=MERGED)
def test_new_tags_come_to_those_that_are_there(present, new, together):
    assert tags.merged(present, new) == (together or {**present, **new})


@pytest.mark.parametrize(
    ("present", "new", "says"),
    [(FIFTY, {"one more": ""}, ("50", "51")), ({"a": ""}, FIFTY, ("1", "51")), (FIFTY, {"x": "", "y": ""}, ("52",))],
)
def test_a_resource_has_fifty_tags_at_most(present, new, says):
    with pytest.raises(errors.Invalid, match="50 tags at most") as caught:
        tags.merged(present, new)
    assert all(number in caught.value.message for number in says)


@pytest.mark.parametrize("key", ["aws:", "aws:team", "AWS:team", "Aws:team", "aWs:TEAM"])
def test_a_reserved_key_is_refused_in_any_letter_case(key):
    for refuse in (lambda: tags.refuse_reserved(["team", key]), lambda: tags.merged({}, {key: ""})):
        with pytest.raises(errors.Invalid, match="is reserved") as caught:
            refuse()
        assert repr(key) in caught.value.message


@pytest.mark.parametrize("key", ["aws", "awsome:team", "team:aws:", " aws:", "a"])
def test_a_key_that_only_looks_like_a_reserved_one_is_fine(key):
    assert tags.merged({}, {key: "v"}) == {key: "v"}
    tags.refuse_reserved([key])
