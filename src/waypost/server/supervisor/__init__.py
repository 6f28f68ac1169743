"""Runs a server as several worker processes that share its ports, its data directory and its limits."""
