"""The server side of an SMTP or LMTP session (RFC 5321), without sockets: it parses bytes, and produces requests and
replies.
"""
