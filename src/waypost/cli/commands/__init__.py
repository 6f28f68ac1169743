"""The commands of `waypost`, with one file for each group of commands."""
