"""What the use cases answer to an SMTP session, and what becomes of its messages."""
