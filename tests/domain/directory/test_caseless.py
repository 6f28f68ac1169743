"""Tests of the comparison of text without regard to case."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit.examples import examples
from waypost.domain.directory import caseless

SAME = {
    "ASCII": ("Support@Example.COM", "sUPPORT@eXAMPLE.com"),
    "no letters": ("100 %_*\"'", "100 %_*\"'"),
    "umlaut": ("Ärger", "äRGER"),
    "sharp s": ("Straße", "STRASSE"),
    "capital sharp s": ("STRA\u1e9eE", "strasse"),
    "final sigma": ("ΣΊΣΥΦΟΣ", "σίσυφος"),
    "dotted capital I": ("\u0130stanbul", "i\u0307stanbul"),
    "composed or not": ("Caf\u00e9", "CAFE\u0301"),
    "marks in another order": ("a\u0323\u0301", "A\u0301\u0323"),
    "Kelvin": ("\u212a", "k"),
    "Angstrom": ("\u212b", "\u00e5"),
    "ligature": ("o\ufb03ce", "OFFICE"),
    "Greek iota below": ("\u1fb3", "\u0391\u0399"),
    "Deseret": ("\U00010400", "\U00010428"),
    "hangul": ("\uac00", "\u1100\u1161"),
}
DIFFERENT = {
    "another letter": ("a", "b"),
    "accent": ("e", "\u00e9"),
    "dotless i": ("\u0131", "i"),
    "dotted capital I": ("\u0130", "i"),
    "width": ("\uff21", "a"),
    "space": ("a b", "a\u00a0b"),
    "longer": ("a", "a "),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_texts_that_differ_only_in_case_are_equal(one, other):
    assert caseless.fold(one) == caseless.fold(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT.values(), ids=DIFFERENT)
def test_texts_that_differ_in_more_than_case_are_not_equal(one, other):
    assert caseless.fold(one) != caseless.fold(other)


@settings(max_examples=examples(200), deadline=None, database=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_all_unicode_forms_of_a_text_fold_to_the_same_text(text):
    folded = caseless.fold(text)
    for form in ("NFC", "NFD"):
        assert caseless.fold(unicodedata.normalize(form, text)) == folded
    assert caseless.fold(folded) == folded


def test_long_runs_of_combining_marks_fold_in_the_same_way_as_short_runs():
    """Our own sorting of the marks gives the same order as the library, whose time is quadratic."""
    marks = "\u0315\u0300\u05ae\u0301\u0345\u0f73\u0344"
    for base in ("a", "\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}", "\N{LATIN SMALL LETTER E WITH ACUTE}", ""):
        text = base + marks * 40 + "B" + marks[::-1] * 40
        folded = unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())
        assert caseless.fold(text) == folded
