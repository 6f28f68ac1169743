"""Tests of the translation of SearchCriteria and SearchFilter: the names of fields, and the resulting conditions."""

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
def test_a_field_is_found_by_its_name_in_any_letter_case(name, field):
    assert searching._field(name) is field


@pytest.mark.parametrize("name", ["", "name", "emailAddress ", "email_address", "EmailAddressArn"])
def test_the_error_for_an_unknown_field_names_it_and_all_searchable_fields(name):
    with pytest.raises(errors.Invalid) as caught:
        searching._field(name)
    assert repr(name) in caught.value.message
    assert all(known in caught.value.message for known in searching.FIELD_NAMES)


def test_the_error_for_an_unknown_field_quotes_only_the_beginning_of_a_long_name():
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
CONDITIONS = {
    "nothing": (None, None, Every(())),
    "an empty node": (a_node(), SimpleNamespace(tag_filter=None), Every(())),
    "a text": (TEXT, None, X),
    "a tag": (None, a_filter(tag_condition=TAG), TEAM),
    "both": (TEXT, a_filter(and_conditions=[TAG, TAG]), Every((X, TEAM, TEAM))),
    "alternatives": (a_node(or_conditions=[TEXT, a_node()]), None, Either((X, Every(())))),
    "all of several": (a_node(and_conditions=[TEXT, TEXT]), None, Every((X, X))),
    "alternatives of tags": (None, a_filter(or_conditions=[[TAG], [TAG, TAG]]), Either((TEAM, Every((TEAM, TEAM))))),
}


@pytest.mark.parametrize(("criteria", "filters", "condition"), CONDITIONS.values(), ids=CONDITIONS)
def test_a_search_is_translated_to_a_condition(criteria, filters, condition):
    assert searching.condition(criteria, filters) == condition


REFUSED = {
    "two kinds": (a_node(and_conditions=[TEXT], string_condition=TEXT.string_condition), None, "only one kind"),
    "two kinds of tags": (None, a_filter(and_conditions=[TAG], tag_condition=TAG), "only one kind"),
    "no key": (None, a_filter(tag_condition=SimpleNamespace(tag_key=None, tag_value="x")), "needs TagKey"),
    "too many": (a_node(or_conditions=[a_node()] * 101), None, "at most 100 conditions, not 101"),
    "too many in total": (TEXT, a_filter(or_conditions=[[]] * 100), "at most 100 conditions, not 101"),
    "too deep": (functools.reduce(lambda node, _: a_node(or_conditions=[node]), range(11), TEXT), None, "10 levels"),
}


@pytest.mark.parametrize(("criteria", "filters", "says"), REFUSED.values(), ids=REFUSED)
def test_an_invalid_search_is_refused(criteria, filters, says):
    with pytest.raises(errors.Invalid, match=says):
        searching.condition(criteria, filters)
