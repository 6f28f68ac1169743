"""Builds the documentation as a site (`make docs-site`). The pages stay as they are on disk: GitHub's Markdown."""
