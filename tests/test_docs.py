"""The generated pages are up to date, and the names and links in the documentation are correct."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from scripts import write_reference
from waypost.cli import parameters, program
from waypost.domain.limits import shares
from waypost.mailauth import checker, places

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", write_reference.PAGES)
def test_reference_pages_are_up_to_date(name):
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert page == write_reference.NOTE + write_reference.PAGES[name](), "run `make docs`"


def test_every_link_in_the_documentation_has_a_target():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


def test_every_picture_is_shown_on_a_page_with_a_text_for_people_who_do_not_see_it():
    shown = set()
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        text = page.read_text(encoding="utf-8")
        shown |= {(page.parent / target).resolve() for target in re.findall(r'\b(?:src|srcset)="([^"]+)"', text)}
        for picture in re.findall(r"<img [^>]*>", text):
            assert len(re.search(r'alt="([^"]*)"', picture)[1]) > 20, picture
    assert shown == set(ROOT.glob("docs/images/**/*.png"))


SOURCE = ROOT / "src" / "waypost"
ROOMS = {room.name for room in SOURCE.iterdir() if room.is_dir() and room.name != "__pycache__"}
NAMED = re.compile(r"`([a-z][\w./]*/[\w./-]*)(?:: (\w+))?`")
"""A path in a page, with an optional name that the file defines, such as `app/mail/accept.py: accept_message`."""


def named_paths(page):
    """Yield the path of each source file that a page names, and the name that the file must define, if any."""
    for path, name in NAMED.findall(re.sub("```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)):
        first = path.partition("/")[0]
        if first in ROOMS:
            yield SOURCE / path, name
        elif first in {"src", "tests", "scripts", "docs", "bench", "fuzz", "proofs", "foreign"}:
            yield ROOT / path, name


def test_each_source_file_that_a_page_names_exists_and_defines_the_given_name():
    pages = [*ROOT.glob("*.md"), *(one for one in ROOT.glob("docs/**/*.md") if "decisions" not in one.parts)]
    found = [(page, *named) for page in pages if page.name != "CHANGELOG.md" for named in named_paths(page)]
    assert len(found) > 60
    for page, path, name in found:
        assert path.exists(), f"{page.relative_to(ROOT)} names {path.relative_to(ROOT)}, which does not exist"
        defined = rf"^\s*(?:async def|def|class) {name}\b|^{name}\b.*=" if name else ""
        assert re.search(defined, path.read_text(encoding="utf-8") if name else "", re.MULTILINE), f"{path}: {name}"


def test_the_page_on_architecture_has_exactly_one_row_for_each_room():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)/` \|", page, re.MULTILINE)) == ROOMS
    assert {file.name for file in SOURCE.glob("*.py")} == {"__init__.py", "__main__.py"}


def test_the_page_on_architecture_shows_the_order_of_rooms_that_the_linter_checks():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    of_rooms = {"type": "layers", "containers": ["waypost"]}
    (contract,) = (one for one in tools["importlinter"]["contracts"] if one.items() >= of_rooms.items())
    (drawn,) = re.findall(r"```text\n(cli\n.*?)```", page, re.DOTALL)
    assert [set(line.split()) for line in drawn.splitlines()] == [set(one.split(" | ")) for one in contract["layers"]]


def anchors(page):
    """Return the anchors that GitHub creates for the headings of a page."""
    text = re.sub("```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_to_a_heading_has_a_target():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
            there = page.parent / target if target else page
            assert anchor in anchors(there), f"{page.relative_to(ROOT)} links to {target}#{anchor}"


def _most(total, *addresses):
    """Return how many of `total` places the clients at these addresses get in total, if they request them in turn."""
    ledger = places.Ledger(total)
    holders = [shares.of_address(address) for address in addresses]
    while allowed := [one for one in holders if ledger.allows(one)]:
        ledger.take(allowed[0])
    return total - ledger.free


def _numbers(page, line):
    """Return the numbers in the list item, table row or paragraph of a page that contains the text `line`."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    (found,) = [part for part in re.split(r"\n(?=[-|]|\n)", text) if line in part]
    return {int(number) for number in re.findall(r"\b\d+\b", found)}


def test_pages_have_the_limits_of_concurrent_checks_of_the_code():
    one = _most(places.AT_ONCE, "192.0.2.1")
    network = _most(places.AT_ONCE, *(f"192.0.2.{number}" for number in range(1, 99)))
    assert {places.AT_ONCE, one, network} <= _numbers("security.md", "decisions/0025")
    assert {places.AT_ONCE, one, network, places.WAITING} <= _numbers("how-to/sender-authentication.md", "more wait")
    assert checker.ROOM >> 20 in _numbers("how-to/sender-authentication.md", "| messages of 1 MiB or more")
    assert checker.ROOM >> 20 in _numbers("how-to/sender-authentication.md", "the large messages that it checks")


NOT_PLAIN = ("stranger", "in clear", "waved through", "leftover", "whoever", "is told of", "one is told")
"""Words that docs/style.md replaces with plainer words."""


def test_no_page_has_words_that_the_page_on_style_forbids():
    pages = {*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")} - {ROOT / "CHANGELOG.md", ROOT / "docs" / "style.md"}
    made = {ROOT / "docs" / name for name in write_reference.PAGES}
    for page in pages - made - {*ROOT.glob("docs/decisions/*.md")}:
        text = " ".join(page.read_text(encoding="utf-8").lower().split())
        found = [words for words in NOT_PLAIN if words in text]
        assert not found, f"{page.relative_to(ROOT)}: {found}"


def test_the_readme_names_the_two_commands():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in readme
    assert "make test" in readme


COMMANDS = {
    *(
        "completion",
        "ready",
        "console",
        "serve",
        "doctor",
        "env",
        "inbox",
        "search",
        "show",
        "watch",
        "explain",
        "trace",
        "queue",
        "dead",
        "replay",
        "purge",
        "backup",
        "restore",
        "verify",
        "copy",
        "migrate",
        "routes",
        "keys",
        "demo",
    ),
}


def test_every_command_has_help():
    shown = subprocess.run(
        [sys.executable, "-m", "waypost", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert set(re.findall(r"^  ([a-z]+) +[A-Z]", shown, re.MULTILINE)) == COMMANDS
    for command in COMMANDS:
        assert re.search(rf"\b{command}\b +\w", shown), command


def test_no_lock_file_names_a_package_index():
    for lock in (ROOT / "requirements").glob("*.txt"):
        text = lock.read_text(encoding="utf-8")
        assert "://" not in text
        assert "--hash=sha256:" in text


def test_each_command_that_a_page_names_exists_with_its_options():
    commands = dict(parameters.all_commands(program.app))
    groups = {name.rpartition(" ")[0] for name in commands}
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for span in re.findall(r"`waypost ([a-z][^`]*)`", re.sub("```.*?```", "", page.read_text(), flags=re.DOTALL)):
            name, *words = span.split()
            while name in groups and words and not words[0].startswith("-"):
                name = f"{name} {words.pop(0)}"
            assert name in commands or name in groups, f"{page.relative_to(ROOT)}: there is no `waypost {span}`"
            command = commands.get(name, program.app)
            options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
            for word in words:
                option = word.partition("=")[0]
                assert not word.startswith("--") or option in options, f"{page.relative_to(ROOT)}: `waypost {span}`"
