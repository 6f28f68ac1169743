"""Runs the `waypost` command when Python is started as `python -m waypost`."""

from waypost import cli

if __name__ == "__main__":
    cli.main()
