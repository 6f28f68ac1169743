"""What MkDocs does differently for this site. MkDocs calls these functions at each stage of a build.

The navigation is that of docs/index.md. Three pages are added: CONTRIBUTING.md and CHANGELOG.md, which are not in docs,
and a list of the decisions, because a site shows no list of the files in a folder.
"""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File
from pymdownx import superfences

from scripts.docs_site import markdown

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
DIAGRAMS = ROOT / ".venv" / "mermaid" / "node_modules" / "@mermaid-js" / "tiny" / "dist" / "mermaid.tiny.js"
"""The program that draws diagrams. Without npm it is missing, and the site shows the text of the diagrams."""

ADDED = {
    ROOT / "CONTRIBUTING.md": "contributing/index.md",
    ROOT / "CHANGELOG.md": "changelog.md",
    DOCS / "decisions": "decisions/index.md",
}
"""The place on the site of each file from outside of docs, and of the list of a folder."""


def on_config(config: Any) -> Any:
    """Add the navigation, GitHub's anchors, and the diagrams."""
    config.nav = navigation(markdown.sections((DOCS / "index.md").read_text(encoding="utf-8")))
    config.mdx_configs["toc"]["slugify"] = markdown.anchor
    config.theme.static_templates.discard("404.html")  # a web server shows it for any path, and its links are relative
    if DIAGRAMS.exists():
        fence = {"name": "mermaid", "class": "mermaid", "format": superfences.fence_code_format}
        config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [fence]}
        config.extra_javascript.append("mermaid.js")
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages and the program that are not in docs."""
    for there, place in ADDED.items():
        content = there.read_text(encoding="utf-8") if there.is_file() else _list_of(there)
        files.append(File.generated(config, place, content=content))
    if DIAGRAMS.exists():
        files.append(File.generated(config, "mermaid.js", abs_src_path=str(DIAGRAMS)))
    return files


def on_page_markdown(text: str, page: Any, **_: Any) -> str:
    """Change a page from GitHub's Markdown to that of MkDocs."""
    place = page.file.src_uri
    source = next((file for file, there in ADDED.items() if there == place and file.is_file()), DOCS / place)
    return markdown.with_deeper_lists(markdown.with_links(text, source, place, DOCS, ADDED))


def navigation(sections: markdown.Section) -> list[Any]:
    """Return the navigation in the form of MkDocs."""

    def places(targets: list[str]) -> list[str]:
        return [ADDED.get((DOCS / target).resolve(), target) for target in targets]

    def entry(within: list[str] | dict[str, list[str]]) -> list[Any]:
        return places(within) if isinstance(within, list) else [{name: places(one)} for name, one in within.items()]

    return ["index.md", *({name: entry(within)} for name, within in sections.items())]


def _list_of(folder: Path) -> str:
    """Return a page with a link to each page of a folder, in the order of their names."""
    lines = [f"# {folder.name.capitalize()}", ""]
    for page in sorted(folder.glob("*.md")):
        title = page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        lines.append(f"- [{title}]({page.name})")
    return "\n".join([*lines, ""])
