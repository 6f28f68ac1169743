"""Outgoing mail: attempt queued deliveries over their routes, and report the results."""
