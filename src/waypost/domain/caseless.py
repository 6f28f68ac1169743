"""When two texts are the same but for case."""

import unicodedata


def fold(text: str) -> str:
    """A text as it is compared without case (The Unicode Standard, 3.13, D145: canonical caseless match)."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())
