"""Clients of a running server, for the commands and for users' tests. They use only the standard library."""
