"""Connects SMTP sessions to the use cases: answers their requests, and stores or refuses their messages."""
