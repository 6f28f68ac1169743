"""The receiving edge: mail comes in by SMTP (RFC 5321), strictly read, and is answered only when it is on disk."""
