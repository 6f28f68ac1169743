"""Documentation that is made from code is fresh, and what it must name it names."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import write_reference

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", write_reference.PAGES)
def test_reference_pages_are_fresh(name):
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert page == write_reference.NOTE + write_reference.PAGES[name](), "run `make docs`"


def test_every_link_in_the_documentation_leads_somewhere():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


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


def test_the_example_of_the_how_to_page_works(tmp_path):
    page = (ROOT / "docs" / "how-to" / "test-with-waypost.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    file = tmp_path / "test_example.py"
    file.write_text(example, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout
