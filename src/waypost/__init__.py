"""Waypost provides email addresses, aliases and forwarding behind the Amazon Connect API, on your own machine."""

__version__ = "0.2.0"
