"""The SMTP server (RFC 5321), which parses strictly and accepts a message only after writing it to disk."""
