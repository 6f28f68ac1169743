"""When two texts are the same but for case."""

import unicodedata
from itertools import chain, groupby

_MANY_MARKS = 100
"""From this number of combining marks in a text, this module orders them itself."""


def fold(text: str) -> str:
    """A text as it is compared without case (The Unicode Standard, 3.13, D145: canonical caseless match)."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", _decomposed(text).casefold())


def _decomposed(text: str) -> str:
    """The text in NFD. The library's time grows with the square of the length of a run of combining marks."""
    if sum(map(bool, map(unicodedata.combining, text))) < _MANY_MARKS:
        return unicodedata.normalize("NFD", text)
    characters = chain.from_iterable(unicodedata.normalize("NFD", character) for character in text)
    runs = groupby(characters, key=lambda character: unicodedata.combining(character) > 0)
    return "".join(chain.from_iterable(sorted(run, key=unicodedata.combining) if marks else run for marks, run in runs))
