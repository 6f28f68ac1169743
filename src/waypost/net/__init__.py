"""Network code that the SMTP server, the delivery clients and other rooms share.

It limits the size of DNS answers, explains why a host has no address, sets deadlines, and makes TLS handshakes that
send the peer the reason for a failure.
"""
