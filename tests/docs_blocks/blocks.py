"""Finds the code blocks of the pages, in their order."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

PAGES = [
    "README.md",
    "docs/tutorial.md",
    *(f"docs/how-to/{page.name}" for page in sorted(ROOT.glob("docs/how-to/*.md"))),
    "examples/tickets/README.md",
]
"""The pages whose blocks are run. The blocks of a page are run in one environment, in their order."""

SUFFIXES = {"javascript": "[cm]?js", "python": "py"}
"""The suffixes of files, as regular expressions, where they differ from the language of the block."""

FENCE = re.compile(r"^```(?P<language>\S*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code, and the text before it."""

    page: str
    line: int
    """The number of its first line of code on the page, counted from 1."""
    language: str
    text: str
    before: str
    """The text between the previous block and this block."""

    @property
    def place(self) -> str:
        """The position of the block, in the form PAGE:LINE that editors and terminals recognize."""
        return f"{self.page}:{self.line}"

    @property
    def first_line(self) -> str:
        """The first line of the block, by which `NOT_RUN` names it."""
        return self.text.partition("\n")[0]

    @property
    def file(self) -> str:
        """The last file name in backticks before the block; if there is none, `waypost.toml` for TOML."""
        spans = re.findall(r"`([^`]+)`", self.before)
        suffix = SUFFIXES.get(self.language, self.language)
        named = re.findall(rf"[\w~./-]+\.{suffix}\b|~/\.aws/config", " ".join(spans))
        return named[-1] if named else "waypost.toml" if self.language == "toml" else ""


def blocks_of(page: str) -> list[Block]:
    """Return all blocks of a page, in their order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found, end = [], 0
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start("text")) + 1
        found.append(Block(page, line, match["language"], match["text"], text[end : match.start()]))
        end = match.end()
    return found
