"""Search conditions: what they mean, how large they may be, and the texts of an email address that they are about."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.kit import reference_search
from tests.kit.values import NOW, an_email_address
from waypost.domain import errors
from waypost.domain.directory import search
from waypost.domain.directory.search import Comparison, Either, Every, Field, Tagged, Text

HELP = Text(Field.ADDRESS, Comparison.EXACT, "help@example.com")
TAG = Tagged("team", None)

EVERYTHING = Every(())


def test_the_value_of_a_text_is_folded():
    assert search.text(Field.DISPLAY_NAME, Comparison.CONTAINS, "STRASSE") == search.text(
        Field.DISPLAY_NAME, Comparison.CONTAINS, "Straße"
    )


SIZE = {"conditions": 100, "depth": 10, "characters": 4096}


@pytest.mark.parametrize(
    ("what", "says"), [("conditions", "100 conditions"), ("depth", "10 levels"), ("characters", "4096")]
)
def test_a_search_that_is_too_large_is_refused(what, says):
    search.check_size(**SIZE)
    with pytest.raises(errors.Invalid, match=says) as caught:
        search.check_size(**{**SIZE, what: SIZE[what] + 1})
    assert f"not {SIZE[what] + 1}." in caught.value.message


def test_several_conditions_are_all_to_hold_and_one_stays_as_it_is():
    assert search.all_of([HELP]) is HELP
    assert search.all_of([HELP, TAG]) == Every((HELP, TAG))
    assert search.all_of([]) == EVERYTHING


CONJUNCTS = {
    "one": (HELP, (HELP,)),
    "several": (Every((HELP, TAG)), (HELP, TAG)),
    "several in each other": (Every((Every((HELP, Every(()))), Every((Every((TAG,)),)))), (HELP, TAG)),
    "none": (EVERYTHING, ()),
    "an alternative stays whole": (Every((Either((Every((HELP, TAG)),)), TAG)), (Either((Every((HELP, TAG)),)), TAG)),
    "no alternative": (Either(()), (Either(()),)),
}


@pytest.mark.parametrize(("condition", "parts"), CONJUNCTS.values(), ids=CONJUNCTS)
def test_what_must_hold_together_is_told_apart(condition, parts):
    assert search.conjuncts(condition) == parts


FOUND = replace(
    an_email_address("help"), display_name="Die Straße", description=None, address=an_email_address("Help").address
)
MEANINGS = {
    "every of none": (EVERYTHING, True),
    "either of none": (Either(()), False),
    "every": (Every((HELP, TAG)), True),
    "not every": (Every((HELP, Tagged("cost", None))), False),
    "either": (Either((Tagged("cost", None), HELP)), True),
    "tag with its value": (Tagged("team", "Blue"), True),
    "tag in other letters": (Tagged("team", "blue"), False),
    "key in other letters": (Tagged("Team", None), False),
    "empty value": (Tagged("team", ""), False),
    "in other letters": (search.text(Field.ADDRESS, Comparison.EXACT, "HELP@example.COM"), True),
    "start": (search.text(Field.DISPLAY_NAME, Comparison.STARTS_WITH, "DIE STRASS"), True),
    "not the start": (search.text(Field.DISPLAY_NAME, Comparison.STARTS_WITH, "Straße"), False),
    "part": (search.text(Field.DISPLAY_NAME, Comparison.CONTAINS, "Straße"), True),
    "not the whole": (search.text(Field.DISPLAY_NAME, Comparison.EXACT, "Straße"), False),
    "never given is empty": (search.text(Field.DESCRIPTION, Comparison.EXACT, ""), True),
    "the empty text is in all": (search.text(Field.DESCRIPTION, Comparison.CONTAINS, ""), True),
    "the id": (search.text(Field.ID, Comparison.STARTS_WITH, "HEL"), True),
}


@pytest.mark.parametrize(("condition", "holds"), MEANINGS.values(), ids=MEANINGS)
def test_a_condition_means_what_it_says(condition, holds):
    assert reference_search.fulfils(condition, FOUND, {"team": "Blue"}) is holds


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
def test_a_text_that_is_left_out_stays_and_an_empty_one_clears_it(texts, after):
    display_name, description = texts
    assert BEFORE.with_texts(display_name=display_name, description=description, now=LATER) == after
