"""Each message that the page on problems quotes is one that the code can print."""

import ast
import re
from functools import cache
from pathlib import Path

from waypost.api import errors as api_errors
from waypost.config.settings import ROWS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "how-to" / "troubleshooting.md"

HOLE = "\0"
"""What stands for a value that the code puts into a message."""

ENOUGH = 8
"""The least number of letters of a message that identify it."""


def messages():
    """Return each quoted message: the code in bold at the beginning of a paragraph."""
    found = re.findall(r"^\*\*`(.+?)`\*\*", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [" ".join(message.split()) for message in found]


@cache
def sentences():
    """Return each sentence in the code, with holes for values, and its longest literal part."""
    found = set()
    for file in (ROOT / "src" / "waypost").rglob("*.py"):
        for text in _texts(ast.parse(file.read_text(encoding="utf-8"))):
            for sentence in _split(text):
                if len(re.sub(rf"[{HOLE}\s]", "", sentence)) >= ENOUGH:
                    found.add(sentence)
    return [(one, max(one.split(HOLE), key=len)) for one in found]


def _pattern(sentence):
    """Return a regular expression for a sentence. A value at its beginning is one word, such as a path; a setting may
    come before.
    """
    first, *others = (re.escape(part) for part in sentence.split(HOLE))
    return re.compile(r"(?:--\S+ )?" + ".+".join([first, *others] if first else [r"\S+" + others[0], *others[1:]]))


def _texts(tree):
    """Yield each string of a module. Values in f-strings and in braces are holes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else HOLE for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.sub(r"\{\w+\}", HOLE, node.value)


def _split(text):
    return [sentence.strip(" .") for sentence in re.split(rf"(?<=\.)(?: |(?={HOLE}))|\n", text)]


def is_in_code(sentence):
    """Whether the code can print this sentence, which also has the values."""
    if of_setting := re.fullmatch(r"--\S+ must be (.+), not '.*'", sentence):
        return of_setting[1] in {row.type.words for row in ROWS.values()}
    return any(_pattern(one).fullmatch(sentence) for one, part in sentences() if part in sentence)


def test_each_message_of_the_page_on_problems_is_in_the_code():
    quoted = messages()
    assert len(quoted) > 25
    for message in quoted:
        of_api = re.match(r"An error occurred \((\w+)\)(?: … )?(.*)", message)
        if of_api:
            assert of_api[1] in _names_of_errors(), message
        text = of_api[2] if of_api else re.sub(r"^\d{3} [\d.]+ ", "", message)
        for sentence in filter(None, _split(text)):
            assert is_in_code(sentence), f"{message!r}: {sentence!r} is not in the code"


def _names_of_errors():
    text = "".join(file.read_text(encoding="utf-8") for file in Path(api_errors.__file__).parent.rglob("*.py"))
    return set(re.findall(r"\b[A-Z]\w+Exception\b", text))


def test_a_message_that_no_code_prints_is_found():
    assert is_in_code("Cannot listen on 127.0.0.1:8025: Address already in use")
    assert not is_in_code("Cannot hear on 127.0.0.1:8025: Address already in use")
    assert not is_in_code("The server is tired")
