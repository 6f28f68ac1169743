"""The server side of an SMTP or LMTP session (RFC 5321), without sockets: bytes in, requests and replies out."""
