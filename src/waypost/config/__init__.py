"""The settings: what there is to set, and how command line, environment and file are read."""
