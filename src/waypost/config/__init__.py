"""The settings: the table of all settings, and the code that reads them from the command line, the environment and a
file.
"""
