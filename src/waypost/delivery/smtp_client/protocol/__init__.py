"""The client side of an SMTP or LMTP session, without sockets: it reads replies and produces commands."""
