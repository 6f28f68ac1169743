"""Reads messages for people: their parts, their text, and their HTML without anything that could harm a reader."""
