"""Network code that the SMTP server, the delivery clients and other parts of the program share.

This package limits the size of DNS answers, explains why a host has no address, and sets deadlines. Its TLS handshakes
send the peer the reason for a failure.
"""
