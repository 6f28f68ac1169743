"""The words by which mail is searched.

Both databases store and look up the words that this module finds. Therefore a search has the same results on both.
"""

import re
import unicodedata

TEXT_LIMIT = 256 * 1024
"""The maximum size of a text whose words are indexed, in bytes of UTF-8."""

WORD_LIMIT = 64
"""The maximum length of a word, in characters. Longer words are cut off."""

_SINGLE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
"""The characters that are words by themselves, because Chinese and Japanese are written without spaces."""

_WORD = re.compile(rf"[{_SINGLE}]|[^\W_{_SINGLE}]+")


def words(text: str) -> list[str]:
    """Return the words of a text: its runs of letters and digits, without case, accents and compatibility variants."""
    if not text.isascii():
        text = text.translate({ord(each): _plain(each) for each in set(text) if not each.isascii()})
    return [word[:WORD_LIMIT] for word in _WORD.findall(text.lower())]


def beginning(text: str) -> str:
    """Return the beginning of a text whose words are indexed: at most `TEXT_LIMIT` bytes."""
    return text.encode("utf-8", "replace")[:TEXT_LIMIT].decode("utf-8", "ignore")


def _plain(character: str) -> str:
    """Return a character in lower case, without its accents.

    Each character is converted by itself, because `unicodedata.normalize` takes quadratic time for a run of marks.
    """
    parts = unicodedata.normalize("NFKD", character).casefold()
    return unicodedata.normalize("NFC", "".join(part for part in parts if not unicodedata.combining(part)))
