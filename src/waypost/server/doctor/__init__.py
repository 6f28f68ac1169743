"""Checks the machine, the settings and the database of a server: `facts` reads, and `checks` decides."""
