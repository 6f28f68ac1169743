"""Assembles a server from its settings, and runs it."""
