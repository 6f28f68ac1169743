"""SearchCriteria and SearchFilter: the fields that may be named, and what both mean."""

import functools
from types import SimpleNamespace

import pytest

from waypost.api.operations import searching
from waypost.domain import errors
from waypost.domain.directory.search import Comparison, Either, Every, Field, Tagged, Text

FIELDS = {
    "emailAddress": Field.ADDRESS,
    "EMAILADDRESS": Field.ADDRESS,
    "displayName": Field.DISPLAY_NAME,
    "displayname": Field.DISPLAY_NAME,
    "Description": Field.DESCRIPTION,
    "emailAddressId": Field.ID,
    "resourceId": Field.ID,
    "RESOURCEID": Field.ID,
}


@pytest.mark.parametrize(("name", "field"), FIELDS.items())
def test_a_field_has_its_name_in_any_letter_case(name, field):
    assert searching._field(name) is field


@pytest.mark.parametrize("name", ["", "name", "emailAddress ", "email_address", "EmailAddressArn"])
def test_a_field_that_cannot_be_searched_is_named_with_those_that_can(name):
    with pytest.raises(errors.Invalid) as caught:
        searching._field(name)
    assert repr(name) in caught.value.message
    assert all(known in caught.value.message for known in searching.FIELD_NAMES)


def test_of_a_long_name_the_beginning_is_quoted():
    with pytest.raises(errors.Invalid) as caught:
        searching._field("x" * 1000)
    assert len(caught.value.message) < 300


def a_node(**kinds):
    return SimpleNamespace(**{"or_conditions": None, "and_conditions": None, "string_condition": None, **kinds})


def a_filter(**kinds):
    empty = {"or_conditions": None, "and_conditions": None, "tag_condition": None}
    return SimpleNamespace(tag_filter=SimpleNamespace(**{**empty, **kinds}))


TEXT = a_node(string_condition=SimpleNamespace(field_name="description", value="X", comparison_type="EXACT"))
TAG = SimpleNamespace(tag_key="team", tag_value=None)
X, TEAM = Text(Field.DESCRIPTION, Comparison.EXACT, "x"), Tagged("team", None)
MEANT = {
    "nothing": (None, None, Every(())),
    "an empty node": (a_node(), SimpleNamespace(tag_filter=None), Every(())),
    "a text": (TEXT, None, X),
    "a tag": (None, a_filter(tag_condition=TAG), TEAM),
    "both": (TEXT, a_filter(and_conditions=[TAG, TAG]), Every((X, TEAM, TEAM))),
    "alternatives": (a_node(or_conditions=[TEXT, a_node()]), None, Either((X, Every(())))),
    "all of several": (a_node(and_conditions=[TEXT, TEXT]), None, Every((X, X))),
    "alternatives of tags": (None, a_filter(or_conditions=[[TAG], [TAG, TAG]]), Either((TEAM, Every((TEAM, TEAM))))),
}


@pytest.mark.parametrize(("criteria", "filters", "condition"), MEANT.values(), ids=MEANT)
def test_a_search_means(criteria, filters, condition):
    assert searching.condition(criteria, filters) == condition


REFUSED = {
    "two kinds": (a_node(and_conditions=[TEXT], string_condition=TEXT.string_condition), None, "one kind"),
    "two kinds of tags": (None, a_filter(and_conditions=[TAG], tag_condition=TAG), "one kind"),
    "no key": (None, a_filter(tag_condition=SimpleNamespace(tag_key=None, tag_value="x")), "needs TagKey"),
    "too many": (a_node(or_conditions=[a_node()] * 101), None, "100 conditions at most, not 101"),
    "too many in all": (TEXT, a_filter(or_conditions=[[]] * 100), "100 conditions at most, not 101"),
    "too deep": (functools.reduce(lambda node, _: a_node(or_conditions=[node]), range(11), TEXT), None, "10 levels"),
}


@pytest.mark.parametrize(("criteria", "filters", "says"), REFUSED.values(), ids=REFUSED)
def test_a_search_that_cannot_be_meant_is_refused(criteria, filters, says):
    with pytest.raises(errors.Invalid, match=says):
        searching.condition(criteria, filters)
