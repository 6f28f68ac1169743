"""Sends messages by SMTP and LMTP."""
