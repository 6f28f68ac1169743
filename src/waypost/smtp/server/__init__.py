"""The SMTP server's listeners and connections, with TLS and the PROXY protocol."""
