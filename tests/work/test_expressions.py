"""No regular expression of the program takes more than linear time, but those that are listed here with a reason."""

import itertools
import re

import pytest

from tests.work import expressions
from tests.work.backtracking import why_not_linear
from waypost.api.wire import shapes
from waypost.domain.dsn import reports
from waypost.domain.iam import patterns
from waypost.domain.iam.patterns import Wildcard

NOT_LINEAR = {
    "waypost.domain.mail.encoded_words: _WORD": "Its text holds nothing that a word begins with, by a look-ahead that "
    "the check does not see. of_messages.py has what costs it the most.",
    "waypost.domain.dsn.returned_content: _OF_SERVERS": "It begins at the beginning of a line, which the check does "
    "not see, and reads on to the end of a field. of_messages.py has what costs it the most.",
    "waypost.store.sql: _INSERTED": "It is for our own files.",
}
"""Why an expression may be as it is."""

MADE_AT_RUN_TIME = {
    "waypost.api.wire.constraints: shapes.python_pattern(shape['pattern'])": "test_patterns_of_the_model",
    "waypost.domain.iam.patterns: re.compile(_expression(parts), re.DOTALL)": "test_wildcards_of_policies",
    "waypost.domain.iam.patterns: re.compile(_expression(known), re.DOTALL)": "test_wildcards_of_policies",
    "waypost.domain.iam.policies: re.compile('|'.join(actions), re.IGNORECASE | re.ASCII)": "as those",
    "waypost.domain.directory.partitions: pattern": "It is for the partitions of our own table.",
    "waypost.host.data_directory: f'.+\\\\.{_TEMPORARY}'": "It is for the names of files in the data directory.",
    "waypost.domain.dsn.reports: b'\\\\n' + name + b'[ \\\\t]*:'": "test_fields_of_reports",
}
"""What looks at the expressions that are made of other things, or why nothing has to."""

SHORT = 255
"""Characters of a text on which an expression may take quadratic time."""

FOUND = expressions.all_of_them()


@pytest.mark.parametrize("expression", [one for one in FOUND if one.pattern], ids=lambda one: one.place)
def test_an_expression_takes_linear_time(expression):
    because = why_not_linear(expression.pattern, searches=expression.searches)
    assert bool(because) is (expression.place in NOT_LINEAR), because


def test_expressions_that_are_made_at_run_time_are_listed():
    assert {one.place for one in FOUND if one.pattern is None} == set(MADE_AT_RUN_TIME)


def test_patterns_of_the_model():
    """Those that are not linear are for short texts: the length of a text is looked at before its pattern."""
    for name, shape in shapes.load().shapes.items():
        if "pattern" in shape:
            pattern = re.compile(shapes.python_pattern(shape["pattern"]))
            assert shape.get("max", SHORT + 1) <= SHORT or not why_not_linear(pattern, searches=True), name


def test_wildcards_of_policies():
    pieces = [Wildcard.MANY, Wildcard.ONE, "a", "a:b"]
    for several in itertools.chain.from_iterable(itertools.product(pieces, repeat=length) for length in range(4)):
        pattern = re.compile(patterns._expression([several]), re.DOTALL)
        assert not why_not_linear(pattern, searches=False), several
    parts = [(Wildcard.MANY, "a", Wildcard.MANY)] * patterns.ARN_PARTS
    assert not why_not_linear(re.compile(patterns._expression(parts), re.DOTALL), searches=False)
    actions = "|".join([patterns.glob("connect:*a*b*"), patterns.glob("connect:*b*?a*")])
    assert not why_not_linear(re.compile(actions, re.IGNORECASE), searches=False)


def test_fields_of_reports():
    for name in (b"content-type", b"received"):
        list(reports._fields(b"", name))
        assert not why_not_linear(re.compile(rb"\n" + name + rb"[ \t]*:", re.IGNORECASE), searches=True)
