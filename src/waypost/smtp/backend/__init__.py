"""Connects SMTP sessions to the use cases by answering the sessions' requests and storing or refusing messages."""
