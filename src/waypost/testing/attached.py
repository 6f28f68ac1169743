"""`python -m waypost.testing.attached DIRECTORY …` runs the `waypost` command until the process that started it ends.

If that process ends first, this process removes DIRECTORY, unless it is an empty string. Otherwise the process that
started this one removes the directory. Unlike `waypost serve --attached`, the server has a data directory that the
caller chooses, so that a test can stop the server and start it again.
"""

import runpy
import sys

from waypost.host import parent_process


def main() -> None:
    """Run the command."""
    _, directory, *arguments = sys.argv
    parent = parent_process.ParentProcess()
    try:
        parent.end_with(directory)  # which may end this process at once
        sys.argv = ["waypost", *arguments]
        runpy.run_module("waypost", run_name="__main__")
    finally:
        if parent.has_ended:
            parent_process.remove(directory)


if __name__ == "__main__":
    main()
