"""Builds of Waypost with a known fault, which the campaign must find."""
