"""Settings that a test gives in Python become options and a settings file."""

import tomllib
from datetime import timedelta

import pytest

from waypost.testing import settings


def test_a_server_of_the_kit_has_a_virtual_clock_and_is_for_tests_unless_it_is_told_otherwise():
    assert settings.options(settings.given({})) == ["--clock", "virtual", "--testing", "yes"]
    assert settings.options(settings.given({"clock": "real"})) == ["--clock", "real", "--testing", "yes"]


@pytest.mark.parametrize(
    ("value", "word"),
    [("aws", "aws"), (7, "7"), (True, "yes"), (False, "no"), (timedelta(hours=1), "1h"), (timedelta(0, 61), "61s")],
)
def test_a_setting_is_an_option(value, word):
    assert settings.options({"trace_refusals": value}) == ["--trace-refusals", word]


TABLES = {
    "delivery": {"retry_schedule": ("1m", timedelta(hours=2)), "bounces_via": {"to": "smtp://h:25", "keep": True}},
    "route": [{"match": 'a"b\\c\n\x7f€@example.com', "connections": 3}, {"match": "*", "rewrite_sender": False}],
    "retention": [],
}


def test_tables_are_written_as_toml():
    assert tomllib.loads(settings.file_text(TABLES)) == {
        "delivery": {"retry_schedule": ["1m", "2h"], "bounces_via": {"to": "smtp://h:25", "keep": True}},
        "route": TABLES["route"],
    }
    assert settings.file_text({"limits": "aws"}) == ""


@pytest.mark.parametrize("wrong", [{"delivery": "1d"}, {"route": {}}, {"limits": ["aws"]}, {"limits": None}], ids=str)
def test_a_value_of_the_wrong_type_is_refused(wrong):
    (name,) = wrong
    with pytest.raises(TypeError, match=f"The setting {name} cannot be"):
        settings.given(wrong)


def test_a_duration_with_a_part_of_a_second_is_refused():
    with pytest.raises(ValueError, match=r"Durations are whole seconds, not 0:00:01\.500000"):
        settings.options({"refusal_retention": timedelta(seconds=1.5)})


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"data": "here"}, "The kit chooses the data directory"),
        ({"log": "here"}, "`log` is no setting"),
        ({"config": "my.toml", "route": [], "fault": []}, r"Write route, fault into the settings file my\.toml"),
    ],
)
def test_what_the_kit_chooses_itself_is_refused(wrong, why):
    with pytest.raises(TypeError, match=why):
        settings.given(wrong)


def test_equal_settings_have_the_same_key():
    assert settings.key({"a": 1, "b": [timedelta(1)]}) == settings.key({"b": [timedelta(1)], "a": 1})
    assert settings.key({"a": 1}) != settings.key({"a": 2})
