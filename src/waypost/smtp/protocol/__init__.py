"""The server's side of an SMTP or LMTP session, without sockets: octets in, events and replies out (RFC 5321)."""
