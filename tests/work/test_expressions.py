"""Every regular expression of the program takes linear time, except those that are listed here with a reason."""

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
    "waypost.domain.mail.encoded_words: _WORD": "A look-ahead, which the check cannot evaluate, prevents the beginning "
    "of a word inside a word. of_messages.py has the inputs that take the most time.",
    "waypost.domain.dsn.returned_content: _OF_SERVERS": "The expression matches only at the beginning of a line, which "
    "the check cannot see, and reads to the end of a field. of_messages.py has the inputs that take the most time.",
    "waypost.store.sql: _INSERTED": "The expression is only used for Waypost's own files.",
    "waypost.store.migrations.statements: _COMMENT_OR_TEXT": "The expression is only used for Waypost's own files.",
    "waypost.store.migrations.statements: _STATEMENT": "The expression is only used for Waypost's own files.",
}
"""The expressions that may take more than linear time, each with the reason."""

MADE_AT_RUN_TIME = {
    "waypost.api.wire.constraints: shapes.python_pattern(shape['pattern'])": (
        "test_the_patterns_of_the_aws_model_take_linear_time"
    ),
    "waypost.domain.iam.patterns: re.compile(_expression(parts), re.DOTALL)": (
        "test_the_wildcards_of_policies_take_linear_time"
    ),
    "waypost.domain.iam.patterns: re.compile(_expression(known), re.DOTALL)": (
        "test_the_wildcards_of_policies_take_linear_time"
    ),
    "waypost.domain.iam.policies: re.compile('|'.join(actions), re.IGNORECASE | re.ASCII)": (
        "test_the_wildcards_of_policies_take_linear_time"
    ),
    "waypost.store.migrations.statements: re.compile(beginning)": "The expression is for Waypost's own files.",
    "waypost.domain.directory.partitions: pattern": "The expression is only used for Waypost's own table.",
    "waypost.host.data_directory: f'.+\\\\.{_TEMPORARY}'": "The expression is used for Waypost's file names.",
    "waypost.domain.dsn.reports: b'\\\\n' + name + b'[ \\\\t]*:'": (
        "test_the_expressions_for_fields_of_reports_take_linear_time"
    ),
}
"""The expressions that are built at run time, each with the test that checks it, or the reason for having no test."""

SHORT = 255
"""The maximum length, in characters, of a text for which an expression may take quadratic time."""

FOUND = expressions.all_of_them()


@pytest.mark.parametrize("expression", [one for one in FOUND if one.pattern], ids=lambda one: one.place)
def test_an_expression_takes_linear_time(expression):
    because = why_not_linear(expression.pattern, searches=expression.searches)
    assert bool(because) is (expression.place in NOT_LINEAR), because


def test_expressions_that_are_built_at_run_time_are_listed():
    assert {one.place for one in FOUND if one.pattern is None} == set(MADE_AT_RUN_TIME)


def test_the_patterns_of_the_aws_model_take_linear_time():
    """Patterns that are not linear are only for short texts, because the length is checked before the pattern."""
    for name, shape in shapes.load().shapes.items():
        if "pattern" in shape:
            pattern = re.compile(shapes.python_pattern(shape["pattern"]))
            assert shape.get("max", SHORT + 1) <= SHORT or not why_not_linear(pattern, searches=True), name


def test_the_wildcards_of_policies_take_linear_time():
    pieces = [Wildcard.MANY, Wildcard.ONE, "a", "a:b"]
    for several in itertools.chain.from_iterable(itertools.product(pieces, repeat=length) for length in range(4)):
        pattern = re.compile(patterns._expression([several]), re.DOTALL)
        assert not why_not_linear(pattern, searches=False), several
    parts = [(Wildcard.MANY, "a", Wildcard.MANY)] * patterns.ARN_PARTS
    assert not why_not_linear(re.compile(patterns._expression(parts), re.DOTALL), searches=False)
    actions = "|".join([patterns.glob("connect:*a*b*"), patterns.glob("connect:*b*?a*")])
    assert not why_not_linear(re.compile(actions, re.IGNORECASE), searches=False)


def test_the_expressions_for_fields_of_reports_take_linear_time():
    for name in (b"content-type", b"received"):
        list(reports._fields(b"", name))
        assert not why_not_linear(re.compile(rb"\n" + name + rb"[ \t]*:", re.IGNORECASE), searches=True)
