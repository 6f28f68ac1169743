"""The settings: their table, and the readers of command line, environment and file."""
