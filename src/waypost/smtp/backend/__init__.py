"""Connects SMTP sessions to the use cases: answers the sessions' requests, and stores or refuses their messages."""
