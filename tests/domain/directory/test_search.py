"""Tests of search conditions: their meaning, their maximum size, and the searched texts of an email address."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from tests.kit import reference_search
from tests.kit.values import NOW, an_email_address
from waypost.domain import errors
from waypost.domain.directory import search
from waypost.domain.directory.search import Comparison, Either, Every, Field, Tagged, Text

HELP = Text(Field.ADDRESS, Comparison.EXACT, "help@example.com")
TAG = Tagged("team", None)

EVERYTHING = Every(())


def test_the_value_of_a_text_condition_is_folded():
    assert search.text(Field.DISPLAY_NAME, Comparison.CONTAINS, "STRASSE") == search.text(
        Field.DISPLAY_NAME, Comparison.CONTAINS, "Straße"
    )


SIZE = {"conditions": 100, "depth": 10, "characters": 4096}


@pytest.mark.parametrize(
    ("what", "message"), [("conditions", "100 conditions"), ("depth", "10 levels"), ("characters", "4096")]
)
def test_a_search_that_is_too_large_is_refused(what, message):
    search.check_size(**SIZE)
    with pytest.raises(errors.Invalid, match=message) as caught:
        search.check_size(**{**SIZE, what: SIZE[what] + 1})
    assert f"not {SIZE[what] + 1}." in caught.value.message


def test_several_conditions_are_combined_and_a_single_condition_is_unchanged():
    assert search.all_of([HELP]) is HELP
    assert search.all_of([HELP, TAG]) == Every((HELP, TAG))
    assert search.all_of([]) == EVERYTHING


CONJUNCTS = {
    "one": (HELP, (HELP,)),
    "several": (Every((HELP, TAG)), (HELP, TAG)),
    "several that are nested": (Every((Every((HELP, Every(()))), Every((Every((TAG,)),)))), (HELP, TAG)),
    "none": (EVERYTHING, ()),
    "an alternative stays whole": (Every((Either((Every((HELP, TAG)),)), TAG)), (Either((Every((HELP, TAG)),)), TAG)),
    "no alternative": (Either(()), (Either(()),)),
}


@pytest.mark.parametrize(("condition", "parts"), CONJUNCTS.values(), ids=CONJUNCTS)
def test_conditions_that_must_all_be_true_are_returned_separately(condition, parts):
    assert search.conjuncts(condition) == parts


FOUND = replace(
    an_email_address("help"), display_name="Die Straße", description=None, address=an_email_address("Help").address
)
MEANINGS = {
    "every, without parts": (EVERYTHING, True),
    "either, without parts": (Either(()), False),
    "every": (Every((HELP, TAG)), True),
    "not every": (Every((HELP, Tagged("cost", None))), False),
    "either": (Either((Tagged("cost", None), HELP)), True),
    "tag with its value": (Tagged("team", "Blue"), True),
    "tag value in another case": (Tagged("team", "blue"), False),
    "tag key in another case": (Tagged("Team", None), False),
    "empty value": (Tagged("team", ""), False),
    "in another case": (search.text(Field.ADDRESS, Comparison.EXACT, "HELP@example.COM"), True),
    "start": (search.text(Field.DISPLAY_NAME, Comparison.STARTS_WITH, "DIE STRASS"), True),
    "not the start": (search.text(Field.DISPLAY_NAME, Comparison.STARTS_WITH, "Straße"), False),
    "part": (search.text(Field.DISPLAY_NAME, Comparison.CONTAINS, "Straße"), True),
    "not the whole": (search.text(Field.DISPLAY_NAME, Comparison.EXACT, "Straße"), False),
    "a text that was never set is empty": (search.text(Field.DESCRIPTION, Comparison.EXACT, ""), True),
    "the empty text is in every text": (search.text(Field.DESCRIPTION, Comparison.CONTAINS, ""), True),
    "the id": (search.text(Field.ID, Comparison.STARTS_WITH, "HEL"), True),
}


@pytest.mark.parametrize(("condition", "holds"), MEANINGS.values(), ids=MEANINGS)
def test_a_condition_is_true_for_the_email_addresses_that_match_it(condition, holds):
    assert reference_search.matches(condition, FOUND, {"team": "Blue"}) is holds


LATER = NOW + timedelta(seconds=1)
BEFORE = replace(an_email_address("a"), display_name="name", description="words")
CHANGES = {
    "nothing": ((None, None), BEFORE),
    "the name": (("other", None), replace(BEFORE, display_name="other", modified_at=LATER)),
    "the description": ((None, "other"), replace(BEFORE, description="other", modified_at=LATER)),
    "both": (("x", "y"), replace(BEFORE, display_name="x", description="y", modified_at=LATER)),
    "clear both": (("", ""), replace(BEFORE, display_name="", description="", modified_at=LATER)),
}


@pytest.mark.parametrize(("texts", "after"), CHANGES.values(), ids=CHANGES)
def test_a_missing_text_is_unchanged_and_an_empty_text_clears_it(texts, after):
    display_name, description = texts
    assert BEFORE.with_texts(display_name=display_name, description=description, now=LATER) == after
