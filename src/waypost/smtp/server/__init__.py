"""SMTP listeners and connections: sockets, TLS, and the PROXY protocol."""
