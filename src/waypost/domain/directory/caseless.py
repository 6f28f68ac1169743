"""Comparison of text without regard to case."""

import unicodedata
from itertools import chain, groupby

_MANY_MARKS = 100
"""If a string contains at least this many combining marks, this module sorts the marks itself."""


def fold(text: str) -> str:
    """Return the case-folded form of a string, for caseless comparison.

    Source: The Unicode Standard, section 3.13, D145 (canonical caseless match).
    """
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", _decomposed(text).casefold())


def _decomposed(text: str) -> str:
    """Return a string in NFD (Unicode Normalization Form D).

    Strings with many combining marks are normalised by our own code, because `unicodedata.normalize` takes quadratic
    time to sort a run of combining marks.
    """
    if sum(map(bool, map(unicodedata.combining, text))) < _MANY_MARKS:
        return unicodedata.normalize("NFD", text)
    characters = chain.from_iterable(unicodedata.normalize("NFD", character) for character in text)
    runs = groupby(characters, key=lambda character: unicodedata.combining(character) > 0)
    return "".join(chain.from_iterable(sorted(run, key=unicodedata.combining) if marks else run for marks, run in runs))
