"""Send messages by SMTP and LMTP."""
