"""The check of regular expressions accepts linear expressions, and reports quadratic and exponential expressions."""

import re

import pytest

from tests.work.backtracking import why_not_linear

LINEAR = [
    r"a*b",
    r"[ \t]+x",
    r"(a|b)*c",
    r"(?:ab?)*c",
    r"a*+a*b",
    r"(?>a*)a*b",
    r"a{1,8}a{1,8}b",
    r"[a-z]+(?:\.[a-z]+)*",
    r'"(?:[^"\\]|\\.)*"',
    r"(?:(?!a)b)*c",
    r"(?<=a)b*c",
    r"(?i:a)b*",
    r"\d*\D",
    r"(?:a?|b?)*c",  # CPython ends a repetition after an iteration that matched nothing
]
QUADRATIC = [
    r"a*a*b",
    r"a+[a-z]*-",
    r".*a.*b",
    r"\w+\d+-",
    r"(?:(?!a*b).)*c",
    r"(?:(?=a*b)a)*c",
    r"a{1,300}a{1,300}b",
    r"(?i:a)+A+b",
    r"[^a]*b*c",
]
EXPONENTIAL = [r"(a+)+b", r"(a*)*b", r"(a|a)*b", r"(\w+\s?)*$", r"(?:a|ab|b)*c", r"(?:a{1,20})*b"]
LINEAR_TO_SEARCH = [r"\n[ \t]*:", r"\([^()]*\)", r"\s+", r"\Ax*$", r"<([^<>]*)>", r"(?:\A|;)d=([^;]+)", r"(?s:a.*)"]
QUADRATIC_TO_SEARCH = [
    r"[ \t]+x",
    r"[ \t]*+x",
    r"(?>a*)b",
    r"[^\r\n]{999}",
    r"\w+@",
    r"x*$",
    r"x*\b",
    r"a*(?=b)",
    r"\s*:",
]


@pytest.mark.parametrize("source", LINEAR)
def test_a_linear_expression_passes(source):
    assert not why_not_linear(re.compile(source), searches=False)


@pytest.mark.parametrize("source", QUADRATIC)
def test_two_repetitions_of_the_same_characters_are_quadratic(source):
    assert why_not_linear(re.compile(source), searches=False).startswith("quadratic")


@pytest.mark.parametrize("source", EXPONENTIAL)
def test_a_repetition_that_repeats_in_two_ways_is_exponential(source):
    assert why_not_linear(re.compile(source), searches=False).startswith("exponential")


@pytest.mark.parametrize("source", LINEAR_TO_SEARCH)
def test_a_search_for_an_expression_that_fails_quickly_is_linear(source):
    assert not why_not_linear(re.compile(source), searches=True)


@pytest.mark.parametrize("source", QUADRATIC_TO_SEARCH)
def test_a_search_for_a_repetition_that_can_fail_is_quadratic(source):
    assert why_not_linear(re.compile(source), searches=True).startswith("quadratic")
    assert why_not_linear(re.compile(source.encode()), searches=True).startswith("quadratic")


def test_an_unsupported_expression_raises_an_error():
    with pytest.raises(NotImplementedError):
        why_not_linear(re.compile(r"(a)\1"), searches=False)
