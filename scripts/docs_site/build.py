"""Builds the site of this version into a folder, beside those of other versions, and lists the versions there are.

Usage: python -m scripts.docs_site.build [--to FOLDER]   (by default `site` in the checkout)
"""

import argparse
import json
import logging
import shutil
from pathlib import Path

from packaging.version import InvalidVersion, Version

import waypost

HERE = Path(__file__).parent
HOME = """<!doctype html>
<meta charset="utf-8">
<link rel="icon" href="data:,">
<title>Waypost's documentation</title>
<meta http-equiv="refresh" content="0; url={newest}/index.html">
<a href="{newest}/index.html">Waypost's documentation</a>
"""
"""The page of the whole site, which leads to the newest version."""


def build(to: Path) -> Path:
    """Build the site of this version into `to`/VERSION, and return this folder. Raises `Abort` at the first warning."""
    from mkdocs.commands import build as mkdocs  # noqa: PLC0415 (so that the rest can be tested without it)
    from mkdocs.config import load_config  # noqa: PLC0415

    place = to / waypost.__version__
    shutil.rmtree(place, ignore_errors=True)
    config = load_config(str(HERE / "mkdocs.yml"), site_dir=str(place), strict=True)
    mkdocs.build(config)
    return place


def list_versions(to: Path) -> None:
    """Write the list of versions that the site's menu shows, newest first, and the page that leads to the newest.
    Folders without the name of a version are ignored.
    """
    names = [file.parent.name for file in to.glob("*/index.html") if _is_version(file.parent.name)]
    found = sorted(names, key=Version, reverse=True)
    listed = [{"version": one, "title": one, "aliases": ["latest"] if one == found[0] else []} for one in found]
    (to / "versions.json").write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")
    (to / "index.html").write_text(HOME.format(newest=found[0]), encoding="utf-8")


def _is_version(name: str) -> bool:
    try:
        Version(name)
    except InvalidVersion:
        return False
    return True


def main() -> None:
    """Build the site, and print where it is."""
    parser = argparse.ArgumentParser(prog="python -m scripts.docs_site.build", description=__doc__.partition("\n")[0])
    parser.add_argument("--to", type=Path, default=Path("site"), help="the folder with a folder for each version")
    to = parser.parse_args().to.resolve()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    place = build(to)
    list_versions(to)
    print(f"{place}/index.html; to search, serve it: python3 -m http.server --bind 127.0.0.1 --directory {to}")


if __name__ == "__main__":
    main()
