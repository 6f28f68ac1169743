"""Runs code that reads hostile input in a process of its own, with limits on memory and time."""
