"""The page on faults: each row names a test that exists, and each kind of fault has rows."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "what-the-server-does.md"
SECTIONS = (
    "Signals",
    "SIGKILL, and a crash",
    "A full disk",
    "A lost database",
    "An expired certificate",
    "A wrong clock",
)


def rows():
    """Yield the section and the cells of each row of the tables."""
    section = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        elif line.startswith("| ") and not line.startswith("| what happens |"):
            yield section, [cell.strip() for cell in line.strip("|").split("|")]


def test_each_kind_of_fault_has_rows():
    assert tuple(dict.fromkeys(section for section, _ in rows())) == SECTIONS


def test_each_row_names_a_test_that_exists():
    for section, cells in rows():
        assert len(cells) == 6, (section, cells)
        named = re.fullmatch(r"`((?:tests|proofs)/[\w/]+\.py): (test_\w+)`", cells[-1])
        assert named, (section, cells[0])
        file, name = named.groups()
        source = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"^(?:async )?def {name}\(", source, re.MULTILINE), f"{file} has no {name}"


def test_each_alert_and_event_of_the_page_exists():
    text = PAGE.read_text(encoding="utf-8")
    rules = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"`(Waypost\w+)`", text)) <= set(re.findall(r"- alert: (\w+)", rules))
    events = (ROOT / "docs" / "reference" / "events.md").read_text(encoding="utf-8")
    logged = {name for section, cells in rows() for name in re.findall(r"`([a-z]+(?:_[a-z]+)*)`", cells[3])}
    metrics = {name for name in logged if name.startswith("waypost_")}
    assert logged - metrics <= set(re.findall(r"^\| `(\w+)` \|", events, re.MULTILINE))
