"""The SMTP server (RFC 5321). It parses strictly, and accepts a message only after the message is on disk."""
