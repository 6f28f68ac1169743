"""Prints the licence of each package that is installed in an environment (`make sbom`).

Usage: python -m scripts.licences PYTHON   PYTHON is the interpreter of the environment.
"""

import json
import subprocess
import sys
from collections.abc import Mapping

_LISTED = """
import importlib.metadata as metadata, json
print(json.dumps([
    {"name": one.metadata["Name"], "version": one.version, "expression": one.metadata.get("License-Expression"),
     "licence": one.metadata.get("License"), "classifiers": one.metadata.get_all("Classifier") or []}
    for one in metadata.distributions()
]))
"""

_CLASSIFIER = "License :: "

_LONGEST = 60
"""The longest free text that is taken for a licence's name. Some packages have the licence's whole text there."""


def licence_of(package: Mapping[str, object]) -> str:
    """Return the name of a package's licence: its SPDX expression, its classifiers, or its free text; `unknown` if the
    package has none.
    """
    if expression := package["expression"]:
        return str(expression)
    classifiers = package["classifiers"]
    assert isinstance(classifiers, list)
    named = [one.rpartition(" :: ")[2] for one in classifiers if one.startswith(_CLASSIFIER) and one.count("::") > 1]
    text = " ".join(str(package["licence"] or "").split())
    return " OR ".join(named) or (text if 0 < len(text) <= _LONGEST else "unknown")


def main() -> None:
    """Print a line for each package. Exit with 1 if the licence of a package is unknown."""
    listed = subprocess.run([sys.argv[1], "-c", _LISTED], capture_output=True, text=True, check=True).stdout
    packages = sorted(json.loads(listed), key=lambda package: package["name"].lower())
    for package in packages:
        print(f"{package['name']:<20} {package['version']:<12} {licence_of(package)}")
    sys.exit(any(licence_of(package) == "unknown" for package in packages))


if __name__ == "__main__":
    main()
