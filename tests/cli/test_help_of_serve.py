"""The help of `waypost serve` has the settings below headings."""

from click.testing import CliRunner

from waypost.cli import program
from waypost.config.headings import FIRST, headings
from waypost.config.settings import ROWS


def test_the_help_of_serve_has_the_settings_below_headings():
    shown = CliRunner().invoke(program.app, ["serve", "--help"], prog_name="waypost").output
    places = [shown.index(f"\n{heading}:\n") for heading in FIRST.values()]
    assert places == sorted(places)
    assert shown.index("\nTLS:\n") < shown.index("  --tls-key") < shown.index("\nClients that send mail:\n")
    assert shown.index("\nOptions:\n") < shown.index("  --check") < places[0]


def test_each_heading_is_above_a_setting():
    under = headings(ROWS)
    assert set(under.values()) == set(FIRST.values())
    assert all(under.values())
