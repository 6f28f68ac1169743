"""Writes the generated parts of docs/benchmarks.md and docs/operations.md, and the plots, from the figures of a run.

`.venv/bin/python bench/page.py` does so again from docs/benchmarks/figures.json.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import plots
import report
from table import table

DOCS = Path(__file__).parents[1] / "docs"
PAGE, FOLDER = DOCS / "benchmarks.md", DOCS / "benchmarks"
OPERATIONS = DOCS / "operations.md"
"""The page for operators, which has a table of the figures."""
FIGURES, OTHERS = FOLDER / "figures.json", FOLDER / "others.json"
"""The figures of `make bench`, and the tables of other commands."""

_PART = re.compile(r"(<!-- generated: ([\w.-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def parts(run: report.Run, others: Mapping[str, Mapping[str, list]]) -> dict[str, str]:
    """Return the generated parts of the pages by name."""
    found = {
        "capacity": report.capacity(run),
        "conditions": report.conditions(run),
        "servers": report.servers(run),
        "api": report.api(run),
        "targets": report.targets(run),
    }
    found |= {f"case.{case['id']}": report.mail(case, run) for case in run["cases"]}
    found |= {name: table(one["head"], one["rows"]) for name, one in others.items()}
    return found


def filled(page: str, found: Mapping[str, str]) -> str:
    """Return the page with its generated parts replaced. A part without figures says so."""
    return _PART.sub(lambda part: f"{part[1]}\n{found.get(part[2], 'Not measured in this run.')}\n\n{part[3]}", page)


def written(run: report.Run) -> dict[Path, str]:
    """Return the text of each generated file: the pages and the plots."""
    others = json.loads(OTHERS.read_text(encoding="utf-8"))
    found = parts(run, others)
    pages = {page: filled(page.read_text(encoding="utf-8"), found) for page in (PAGE, OPERATIONS)}
    return pages | {FOLDER / name: text for name, text in plots.drawn(run).items()}


def keep(run: report.Run) -> None:
    """Write the figures of a run, the pages and the plots."""
    FIGURES.write_text(json.dumps(run, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for path, text in written(run).items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    keep(json.loads(FIGURES.read_text(encoding="utf-8")))
