"""Network code that the SMTP server, the delivery clients and other parts of the program share.

This package limits the size of DNS answers, explains why a host has no address, sets deadlines, and performs TLS
handshakes that report failures to the peer.
"""
