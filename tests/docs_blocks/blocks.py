"""The code blocks of the pages, in their order."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

PAGES = [
    "README.md",
    "docs/tutorial.md",
    *(f"docs/how-to/{page.name}" for page in sorted(ROOT.glob("docs/how-to/*.md"))),
]
"""The pages whose blocks are run. Each tells one story, from its first block to its last."""

FENCE = re.compile(r"^```(?P<language>\S*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code, and the text that leads to it."""

    page: str
    line: int
    """Of its first line of code, counted from 1."""
    language: str
    text: str
    before: str
    """The text between the block before and this one."""

    @property
    def place(self) -> str:
        """Where it is, as editors and terminals take it."""
        return f"{self.page}:{self.line}"

    @property
    def first_line(self) -> str:
        """By which the list of blocks that are not run names it."""
        return self.text.partition("\n")[0]

    @property
    def file(self) -> str:
        """The file that the text before it names last, in backticks. Without one it is `waypost.toml` for TOML."""
        spans = re.findall(r"`([^`]+)`", self.before)
        named = re.findall(rf"[\w~./-]+\.{self.language}\b|~/\.aws/config", " ".join(spans))
        return named[-1] if named else "waypost.toml" if self.language == "toml" else ""


def blocks_of(page: str) -> list[Block]:
    """All blocks of a page, in their order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found, end = [], 0
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start("text")) + 1
        found.append(Block(page, line, match["language"], match["text"], text[end : match.start()]))
        end = match.end()
    return found
