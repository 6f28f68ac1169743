"""`python -m waypost` is the `waypost` command."""

from waypost import cli

if __name__ == "__main__":
    cli.main()
