"""The settings: the table of all settings, and the readers for the command line, the environment and the file."""
