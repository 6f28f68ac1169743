"""Documentation that is made from code is fresh, and what it must name it names."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from scripts import write_reference
from waypost import cli
from waypost.domain.limits import shares
from waypost.mailauth import checker, places

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", write_reference.PAGES)
def test_reference_pages_are_fresh(name):
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert page == write_reference.NOTE + write_reference.PAGES[name](), "run `make docs`"


def test_every_link_in_the_documentation_leads_somewhere():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


def _most(total, *addresses):
    """How many of `total` places clients of these addresses, who ask in turn, get together if nobody else asks."""
    ledger = places.Ledger(total)
    holders = [shares.of_address(address) for address in addresses]
    while allowed := [one for one in holders if ledger.allows(one)]:
        ledger.take(allowed[0])
    return total - ledger.free


def _numbers(page, line):
    """The numbers in the line of a page that has this in it, or in its paragraph."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    (found,) = [part for part in re.split(r"\n(?=[-|]|\n)", text) if line in part]
    return {int(number) for number in re.findall(r"\b\d+\b", found)}


def test_pages_tell_the_places_of_the_checks_as_they_are():
    one = _most(places.AT_ONCE, "192.0.2.1")
    network = _most(places.AT_ONCE, *(f"192.0.2.{number}" for number in range(1, 99)))
    assert {places.AT_ONCE, one, network} <= _numbers("security.md", "decisions/0025")
    assert {places.AT_ONCE, one, places.WAITING} <= _numbers("how-to/sender-authentication.md", "more wait")
    assert checker.ROOM >> 20 in _numbers("how-to/sender-authentication.md", "MiB** of messages")
    assert checker.ROOM >> 20 in _numbers("how-to/sender-authentication.md", "the large messages that it checks")


def test_the_readme_names_the_two_commands():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in readme
    assert "make test" in readme


COMMANDS = {
    *("serve", "env", "inbox", "show", "explain", "trace", "queue", "dead", "replay", "purge", "routes", "keys", "demo")
}


def test_every_command_has_help():
    shown = subprocess.run(
        [sys.executable, "-m", "waypost", "--help"], capture_output=True, text=True, check=True
    ).stdout
    said = re.findall(r"^│ ([a-z]+) +\w|^  ([a-z]+) +\w", shown, re.MULTILINE)
    assert {first or second for first, second in said} == COMMANDS
    for command in COMMANDS:
        assert re.search(rf"\b{command}\b +\w", shown), command


def test_no_lock_file_names_a_package_index():
    for lock in (ROOT / "requirements").glob("*.txt"):
        text = lock.read_text(encoding="utf-8")
        assert "://" not in text
        assert "--hash=sha256:" in text


def test_each_command_that_a_page_names_is_there_with_its_options():
    app = get_command(cli.app)
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for span in re.findall(r"`waypost ([a-z][^`]*)`", re.sub("```.*?```", "", page.read_text(), flags=re.DOTALL)):
            command, words = app, span.split()
            while words and hasattr(command, "commands") and not words[0].startswith("-"):
                assert words[0] in command.commands, f"{page.relative_to(ROOT)}: there is no `waypost {span}`"
                command = command.commands[words.pop(0)]
            options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
            for word in words:
                option = word.partition("=")[0]
                assert not word.startswith("--") or option in options, f"{page.relative_to(ROOT)}: `waypost {span}`"
