"""The views of the console, one file for each page. `waypost.console` says how to add one."""
