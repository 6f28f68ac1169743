"""The client's side of an SMTP or LMTP session, without sockets: replies in, commands out."""
